"""A tiny random model of any model type that hides nothing from a check."""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from textwrap import shorten
from types import ModuleType

import torch
from scripts.sweep.kinds import named_kinds
from scripts.sweep.shrink import SCALES, Scale, tiny_config
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from contextmix.errors import BadInput
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.runs.two_stacks import whole_probe

_KERNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NO_MODELS = (
    "__",
    "modular_",
    "configuration_",
    "processing_",
    "tokenization_",
    "image_processing_",
    "video_processing_",
    "feature_",
    "convert_",
)
LARGEST = 120_000_000
"""Parameters of the largest model that is tried."""


class NotTried(Exception):
    """Why no model of a type could be built or run here; nothing is said about contextmix."""


class InsideAnother(NotTried):
    """No model is loaded by a config of this type alone; it is looked at as a part of another type."""


def build(model_type: str) -> PreTrainedModel:
    """A tiny model of a type with no parameter at a trivial value, of the smallest scale at which it runs.

    Raises:
        NotTried: If transformers has no class for it here, or it cannot be built small.
    """
    kind, built, reason = _model_class(model_type), None, None
    for every_kind, scale in product((True, False), SCALES):
        try:
            config = tiny_config(model_type, scale, every_kind=every_kind)
            if not every_kind and _has_all_kinds(config, model_type, scale):
                continue
            with torch.device("meta"):
                size = sum(weight.numel() for weight in kind(config).parameters())
            if size > LARGEST:
                reason = reason or ValueError(f"{size:,} parameters in the smallest one")
                continue
            torch.manual_seed(0)
            model = vivid(kind(config))
        except Exception as failure:  # a config may refuse any combination in any way
            reason = reason or failure
            continue
        built = built or model
        try:
            run(model)
        except NotTried:
            continue
        return model
    if built is None:
        assert reason is not None
        raise NotTried(f"no small model could be built: {type(reason).__name__}: {short(reason)}")
    return built  # a part of it may run


def _has_all_kinds(config: PreTrainedConfig, model_type: str, scale: Scale | None) -> bool:
    """Whether a config with every kind of layer is the same, and was tried."""
    try:
        other = tiny_config(model_type, scale, every_kind=True)
    except Exception:  # it may refuse some kind in any way
        return False
    return list(named_kinds(config)) == list(named_kinds(other))


def run(model: PreTrainedModel) -> dict[str, Tensor]:
    """Run a model on its probe as a user would, without contextmix, and return the probe.

    Raises:
        NotTried: If that does not go.
    """
    try:
        probe = whole_probe(model)
        quiet_run(model, probe)
    except BadInput as reason:
        raise NotTried(short(reason)) from reason
    except Exception as failure:  # a model may raise anything on an input that is not for it
        raise NotTried(
            f"{type(model).__name__} does not run on the probe: {type(failure).__name__}: {short(failure)}"
        ) from failure
    return probe


def _model_class(model_type: str) -> type[PreTrainedModel]:
    config = CONFIG_MAPPING[model_type]
    files = _files(config)
    names = MODEL_MAPPING_NAMES.get(model_type, ())
    for name in (names,) if isinstance(names, str) else names:
        for file in files:
            found = getattr(file, name, None)
            if found is not None and getattr(found, "config_class", None) in (config, None):
                return found
    own = [
        one
        for file in files
        for one in vars(file).values()
        if inspect.isclass(one)
        and issubclass(one, PreTrainedModel)
        and one.__module__ == file.__name__
        and getattr(one, "config_class", None) is config
        and one.forward is not PreTrainedModel.forward
    ]
    if not own:
        raise InsideAnother(f"transformers has no model class for this config alone; {_parents(model_type)}")
    return min(own, key=_rank)


def _files(config: type[PreTrainedConfig]) -> list[ModuleType]:
    """The code of a model: the file that is called as that of its config, and the others beside it."""
    name = config.__module__.replace("configuration_", "modeling_")
    try:
        first = importlib.import_module(name)
    except ImportError as reason:
        raise NotTried(f"its code does not load here: {reason}") from reason
    package = name.rpartition(".")[0]
    found = [first]
    for file in sorted(Path(str(first.__file__)).parent.glob("*.py")):
        if not file.stem.startswith(_NO_MODELS) and f"{package}.{file.stem}" != name:
            with suppress(ImportError):
                found.append(importlib.import_module(f"{package}.{file.stem}"))
    return found


def _rank(kind: type[PreTrainedModel]) -> tuple[bool, ...]:
    """What a user loads comes first: a model, a backbone, and whatever reads what users have."""
    read = inspect.signature(kind.forward).parameters
    users = {"input_ids", "pixel_values", "input_values", "input_features", "flattened_patches"}
    return not kind.__name__.endswith("Model"), not kind.__name__.endswith("Backbone"), users.isdisjoint(read)


def _parents(model_type: str) -> str:
    names = holders().get(CONFIG_MAPPING[model_type], [])
    return f"it is part of {', '.join(names)}" if names else "its parts are types of their own"


@cache
def holders() -> dict[type, list[str]]:
    """Config class → the types whose configs hold one of it; loads them all, so ask before a process forks."""
    found: dict[type, list[str]] = defaultdict(list)
    for name in sorted(CONFIG_MAPPING):
        for kind in getattr(CONFIG_MAPPING[name], "sub_configs", {}).values():
            found[kind].append(name)
    return found


def vivid(model: PreTrainedModel) -> PreTrainedModel:
    """Random weights that leave no norm, no bias, no gate and no layer scale at a value that hides it."""
    generator = torch.Generator().manual_seed(0)
    kernels = {module.weight for module in model.modules() if isinstance(module, _KERNELS)}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not weight.is_floating_point():
                continue
            noise = torch.randn(weight.shape, generator=generator).to(weight.dtype)
            if weight.ndim < 2:
                clean = weight.nan_to_num(1.0).clamp(-10, 10)
                weight.copy_(clean + 0.3 * noise)  # norms stay around one (or zero, where they are stored so)
            else:
                read = weight[0].numel() if weight in kernels else weight.shape[-1]
                weight.copy_(noise * (1.0 if "embed" in name and weight not in kernels else read**-0.5))
    return model.eval()


def short(reason: Exception) -> str:
    """The first line of an error, without the addresses of objects."""
    lines = str(reason).strip().splitlines()
    return shorten(lines[0], 800, placeholder=" …") if lines else type(reason).__name__
