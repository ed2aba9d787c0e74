"""A tiny random model of any model type that hides nothing from a check."""

from __future__ import annotations

import importlib
import inspect
from textwrap import shorten

import torch
from scripts.sweep.shrink import SCALES, tiny_config
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from contextmix.errors import BadInput
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.runs.two_stacks import whole_probe

_KERNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LARGEST = 120_000_000
"""Parameters of the largest model that is tried."""


class NotTried(Exception):
    """Why no model of a type could be built or run here; nothing is said about contextmix."""


def build(model_type: str) -> PreTrainedModel:
    """A tiny model of a type with no parameter at a trivial value, of the smallest scale at which it runs.

    Raises:
        NotTried: If transformers has no class for it here, or it cannot be built small.
    """
    kind, built, reason = _model_class(model_type), None, None
    for scale in SCALES:
        try:
            config = tiny_config(model_type, scale)
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
    try:
        file = importlib.import_module(config.__module__.replace("configuration_", "modeling_"))
    except ImportError as reason:
        raise NotTried(f"its code does not load here: {reason}") from reason
    names = MODEL_MAPPING_NAMES.get(model_type, ())
    for name in (names,) if isinstance(names, str) else names:
        if hasattr(file, name):
            return getattr(file, name)
    own = [
        one
        for one in vars(file).values()
        if inspect.isclass(one)
        and issubclass(one, PreTrainedModel)
        and one.__module__ == file.__name__
        and getattr(one, "config_class", None) is config
        and one.forward is not PreTrainedModel.forward
    ]
    if not own:
        raise NotTried("transformers has no model class for this config alone; it is part of another model")
    return next((one for one in own if one.__name__.endswith("Model")), own[0])


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
