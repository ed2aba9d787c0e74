"""Find a model: a folder, a hub name, or one of the built-in models; all of its weights must be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
)

from contextmix.errors import BadOption, ModelNotFound, NotFinite, UnsupportedModel, refuse_kind
from contextmix.options.values import precision
from contextmix.results.files import at_home
from contextmix.tracing.inputs.absent import OWN_CODE, is_own_code
from contextmix.tracing.inputs.adapters import base_of, is_adapter, load_adapter
from contextmix.tracing.inputs.heads import refuse_choices
from contextmix.tracing.inputs.hub import first_line, hub_options, place_of
from contextmix.tracing.inputs.names import BUILT_IN, near_misses, refuse_absent
from contextmix.tracing.inputs.placement import PASSED, refuse_asked, refuse_scattered, refuse_spread_adapter
from contextmix.tracing.inputs.readers import load_processor, load_tokenizer
from contextmix.tracing.recording.offload import is_offloaded


def load_pretrained(
    name: str | Path,
    *,
    dtype: str | torch.dtype,
    revision: str | None,
    trust_remote_code: bool,
    new_head: bool = False,
    where: Mapping[str, Any] | None = None,
) -> tuple[PreTrainedModel, Any | None, Any | None]:
    """A model with the head that it was saved with, its tokenizer, and its image processor or feature extractor.

    The last two are None where the model has none.

    Args:
        name: A built-in name, a folder, or a name on the Hugging Face hub.
        dtype: Precision to load in; ``"auto"`` keeps the stored one.
        revision: Commit, tag or branch on the hub.
        trust_remote_code: Whether code that comes with the model may run.
        new_head: Whether a head that was not saved may begin with random weights.
        where: Which parts go where, and in how many bits; see `contextmix.tracing.inputs.placement`.

    Raises:
        ModelNotFound: If there is no such model, it cannot be read, or weights of it are missing.
        UnsupportedModel: If it is not a model that transformers itself can build.
    """
    refuse_absent(str(name))
    loaded_in, place = _dtype(dtype), place_of(str(name))
    if is_adapter(place):
        refuse_spread_adapter(place, where or {})
        adapted = load_adapter(place, dtype=loaded_in, trust_remote_code=trust_remote_code)
        return adapted, load_tokenizer(name) or load_tokenizer(base_of(place)), None
    options = {"revision": revision, "trust_remote_code": trust_remote_code, **hub_options(place)}
    try:
        config = AutoConfig.from_pretrained(place, **options)
        kind = _model_class(config, place)
        options |= where or {}
        model, found = kind.from_pretrained(place, dtype=loaded_in, output_loading_info=True, **options)
    except Exception as reason:  # every library beneath has errors of its own for a damaged file
        refuse_asked(str(name), where or {}, reason)
        raise ModelNotFound(_not_found(str(name), reason)) from reason
    refuse_missing(model, str(name), found["missing_keys"], new_head=new_head)
    reading = {name: value for name, value in options.items() if name not in PASSED}
    return model, load_tokenizer(name, **reading), load_processor(model, place, reading)


def refuse_missing(model: PreTrainedModel, name: str, missing: Iterable[str], *, new_head: bool = False) -> None:
    """Weights that a checkpoint lacks and transformers made up at random.

    Args:
        model: As it was loaded.
        name: Of the checkpoint.
        missing: What transformers says is missing; not what it expects to be, such as a tied matrix.
        new_head: Whether those of a head may be.

    Raises:
        ModelNotFound: With their names.
    """
    names = sorted(missing)
    head = [one for one in names if _is_head(model, one)]
    if not names or (new_head and len(head) == len(names)):
        return
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    way = (
        "They are all of its head. Load the model without one, contextmix.load(AutoModel.from_pretrained(…), "
        "AutoTokenizer.from_pretrained(…)), or use new_head=True to start the head from random weights."
        if len(head) == len(names)
        else "Complete the checkpoint, or correct the configuration beside it."
    )
    raise ModelNotFound(
        f"The checkpoint {name} lacks {len(names)} of the weights of {type(model).__name__}: {listed}. transformers "
        f"filled them with random numbers, so every result would describe a different model. {way}"
    )


def _is_head(model: PreTrainedModel, weight: str) -> bool:
    """Whether a weight lies outside of the model that the head stands on; its pooler counts as head."""
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    inside = weight.removeprefix(prefix)
    return not weight.startswith(prefix) or inside.startswith("pooler.")


def hide_progress_bars() -> None:
    """No bars of transformers from now on: for a terminal that shows its own progress."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def refuse_unusable(model: Any) -> None:
    """Refuse what is no loaded transformers model, and weights that are not numbers.

    Raises:
        UnsupportedModel: If the model is of another kind, reads several choices at once, has no weights in memory, or
            lies on several devices.
        NotFinite: If a weight is NaN or infinite.
    """
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModel(
            "contextmix reads models of the transformers library; this is a "
            f"{type(model).__module__}.{type(model).__name__}. Pass a name, a folder, or a loaded transformers model. "
            "A class of your own can be read if it derives from transformers.PreTrainedModel and its attention is "
            "computed through the attention registry of transformers (AttentionInterface)."
        )
    refuse_choices(model)
    _refuse_packed(model)
    refuse_scattered(model)
    for path, weight in model.named_parameters():
        if not weight.is_meta and weight.is_floating_point() and not _finite(weight):
            raise NotFinite(
                f"The weight {path} contains NaN or infinity, so every result would be wrong. The checkpoint is "
                f"damaged or its training diverged. Load another one."
            )


_PACKED = {torch.qint8: "int8", torch.quint8: "uint8", torch.quint4x2: "4 bits", torch.float16: "float16"}
"""What torch's own forms are called."""


def _refuse_packed(model: PreTrainedModel) -> None:
    """Modules whose weights torch itself packed into fewer bits, so that no tensor of them can be read."""
    for path, part in model.named_modules():
        place = type(part).__module__
        if "ao.nn.quantized" in place or "nn.quantized" in place or "ao.nn.intrinsic.quantized" in place:
            stored = getattr(getattr(part, "_packed_params", None), "dtype", torch.qint8)
            kind = ("dynamic " if "dynamic" in place else "") + _PACKED.get(stored, str(stored))
            raise UnsupportedModel(
                f"The model is quantised to {kind} by torch ({path} is a {place}.{type(part).__name__}): its weights "
                f"are packed, but contextmix has to read them. Explain the model before quantisation, or load it "
                "in 8 or 4 bits with bitsandbytes, or in bfloat16."
            )


def move(model: PreTrainedModel, device: str | torch.device) -> None:
    """Put a model on a device.

    Raises:
        BadOption: If there is no such device here, or the model is spread already.
    """
    if is_offloaded(model):
        raise BadOption(
            f"The model was loaded with a device_map, so it cannot be moved to {str(device)!r} as a whole. Leave out "
            f"device."
        )
    try:
        model.to(device)  # type: ignore[arg-type, unused-ignore]
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as reason:
        first = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
        raise BadOption(f"The model cannot be put on the device {str(device)!r}: {first}") from reason


def _finite(weight: nn.Parameter) -> bool:
    # The sum of finite numbers can overflow only in half precision; then look closely.
    if type(weight) is not nn.Parameter:
        return True  # quantised: whole numbers and scales, in a form of its own
    total = weight.detach().sum()
    return bool(torch.isfinite(total)) or bool(torch.isfinite(weight.detach()).all())


def _model_class(config: PreTrainedConfig, place: str) -> Any:
    """The class that the checkpoint names, with its head; the plain model where it names none."""
    for architecture in config.architectures or ():
        found = getattr(transformers, architecture, None)
        if found is not None:
            return found
    return AutoModel


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    refuse_kind("load: dtype", dtype, str, torch.dtype)
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    precision("dtype", dtype)
    found: torch.dtype = getattr(torch, dtype)
    return found


def _not_found(name: str, reason: Exception) -> str:
    folder = at_home(name)
    if is_own_code(reason):
        return f"The model {name} was not loaded: {OWN_CODE}."
    if folder.is_dir():
        return f"The folder {name} does not hold a model that transformers can load: {_cause(reason)}"
    return (
        f"There is no model {name!r}: not a local folder, not a built-in model ({', '.join(BUILT_IN)}), not found on "
        f"the Hugging Face Hub ({first_line(reason)}).{near_misses(name)}"
    )


def _cause(reason: Exception) -> str:
    """Why a folder cannot be loaded."""
    kinds = {one.__name__ for one in type(reason).__mro__}
    if "SafetensorError" in kinds:
        return f"its file of weights is empty, cut off or damaged ({first_line(reason)}). Save or download it again."
    if "UnpicklingError" in kinds or "pickle protocol" in str(reason):
        return (
            "its pickled file of weights (.bin) is damaged, or contains code that could run on this machine. Get the "
            "weights as .safetensors."
        )
    if isinstance(reason, EOFError):
        return "its file of weights is empty or cut off. Save or download it again."
    return str(reason).strip() or type(reason).__name__
