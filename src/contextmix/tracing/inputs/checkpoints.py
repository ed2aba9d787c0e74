"""Find a model and what reads its input for it: a folder, a hub name, or one of the built-in models."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)

from contextmix.errors import BadOption, ModelNotFound, NotFinite, UnsupportedModel
from contextmix.tracing.inputs.adapters import base_of, is_adapter, load_adapter
from contextmix.tracing.inputs.kind import Kind
from contextmix.tracing.inputs.media import kind_of

BUILT_IN = {"demo": "sentiment", "demo-decoder": "stories"}
"""Names that need no network, and their folders in the package."""


def load_pretrained(
    name: str | Path, *, dtype: str | torch.dtype, revision: str | None, trust_remote_code: bool
) -> tuple[PreTrainedModel, Any | None, Any | None]:
    """A model with the head that it was saved with, its tokenizer, and its image processor or feature extractor.

    The last two are None where the model has none.

    Args:
        name: A built-in name, a folder, or a name on the Hugging Face hub.
        dtype: Precision to load in; ``"auto"`` keeps the stored one.
        revision: Commit, tag or branch on the hub.
        trust_remote_code: Whether code that comes with the model may run.

    Raises:
        ModelNotFound: If there is no such model, or it cannot be read.
        UnsupportedModel: If it is not a model that transformers itself can build.
    """
    place = _place(str(name))
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    if is_adapter(place):
        adapted = load_adapter(place, dtype=_dtype(dtype), trust_remote_code=trust_remote_code)
        return adapted, load_tokenizer(name) or load_tokenizer(base_of(place)), None
    try:
        config = AutoConfig.from_pretrained(place, **options)
        model = _model_class(config, place).from_pretrained(place, dtype=_dtype(dtype), **options)
    except (OSError, ValueError, KeyError, RuntimeError) as reason:
        raise ModelNotFound(_not_found(str(name), reason)) from reason
    return model, load_tokenizer(name, **options), _processor(kind_of(model), place, options)


def load_tokenizer(name: str | Path, **options: Any) -> Any | None:
    """The tokenizer of a model alone; None if it has none.

    Args:
        name: As for `load_pretrained`.
        options: Of ``from_pretrained``.
    """
    try:
        return AutoTokenizer.from_pretrained(_place(str(name)), **options)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # models of images and sound have none; token ids can be passed instead of a text


def _processor(kind: Kind | None, place: str, options: dict[str, Any]) -> Any | None:
    """What reads images or sounds for a model, saved beside it; None if there is none or Pillow is missing."""
    if kind is None:
        return None
    try:
        return kind.load(place, **options)
    except (OSError, ValueError, KeyError, TypeError, ImportError):
        return None


def hide_progress_bars() -> None:
    """No bars of transformers from now on: for a terminal that shows its own progress."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def refuse_unusable(model: Any) -> None:
    """Refuse what is no loaded transformers model, and weights that are not numbers.

    Raises:
        UnsupportedModel: If the model is of another kind, has no weights in memory, or lies on several devices.
        NotFinite: If a weight is NaN or infinite.
    """
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModel(
            "contextmix reads models of the transformers library; this is a "
            f"{type(model).__module__}.{type(model).__name__}. Pass a name, a folder, or a loaded transformers model."
        )
    mapped = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    found = {str(weight.device) for weight in model.parameters() if not weight.is_meta}
    places = sorted(mapped if len(mapped) > len(found) else found)
    if len(places) > 1:
        raise UnsupportedModel(
            f"The model is spread over several devices ({', '.join(places)}), and the maps of its layers are put "
            "together on one. Load it on a single device; in bfloat16 or 8 bits it needs half or a quarter of the "
            "memory."
        )
    for path, weight in model.named_parameters():
        if weight.is_meta:
            raise UnsupportedModel(
                f"The weight {path} is on the meta device, so the model cannot run. Load it into memory first."
            )
        if weight.is_floating_point() and not _finite(weight):
            raise NotFinite(
                f"The weight {path} holds NaN or infinity, so every number that follows would be wrong. The "
                "checkpoint is damaged or its training diverged; load another one."
            )


def move(model: PreTrainedModel, device: str | torch.device) -> None:
    """Put a model on a device.

    Raises:
        BadOption: If there is no such device here.
    """
    try:
        model.to(device)  # type: ignore[arg-type, unused-ignore]
    except (RuntimeError, AssertionError, NotImplementedError) as reason:
        first = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
        raise BadOption(f"The model cannot be put on the device {str(device)!r}: {first}") from reason


def _finite(weight: nn.Parameter) -> bool:
    # The sum of finite numbers can overflow only in half precision; then look closely.
    if type(weight) is not nn.Parameter:
        return True  # quantised: whole numbers and scales, in a form of its own
    total = weight.detach().sum()
    return bool(torch.isfinite(total)) or bool(torch.isfinite(weight.detach()).all())


def _place(name: str) -> str:
    if name in BUILT_IN:
        return str(files("contextmix") / "demo" / BUILT_IN[name])
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _model_class(config: PreTrainedConfig, place: str) -> Any:
    """The class that the checkpoint names, with its head; the plain model where it names none."""
    for architecture in config.architectures or ():
        found = getattr(transformers, architecture, None)
        if found is not None:
            return found
    return AutoModel


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise BadOption(f"There is no data type {dtype!r}. Use float32, float64, bfloat16, float16 or auto.")
    return found


def _not_found(name: str, reason: Exception) -> str:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return f"The folder {name} does not hold a model that transformers can load: {reason}"
    near = difflib.get_close_matches(name, BUILT_IN.keys() - {name}, n=1, cutoff=0.5)
    beside = [str(other) for other in folder.parent.glob("*/config.json")] if folder.parent.is_dir() else []
    names = [str(Path(other).parent) for other in beside]
    near += difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    first = str(reason).strip().splitlines()[0] if str(reason).strip() else type(reason).__name__
    return (
        f"There is no model {name!r}: it is no folder here, no built-in model ({', '.join(BUILT_IN)}), and the "
        f"Hugging Face hub did not give it ({first}).{hint}"
    )
