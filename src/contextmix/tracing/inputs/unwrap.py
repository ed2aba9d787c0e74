"""The transformers model inside of what training and compiling wrap around it; it computes the same, or is refused."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from contextmix.errors import ContextMixError, UnsupportedModel
from contextmix.tracing.inputs.probe import default_probe, source_probe
from contextmix.tracing.recording.quiet import evaluating, first_states, on_device, quiet_run
from contextmix.tracing.recording.verify import close, tolerance


def unwrapped(model: Any) -> Any:
    """A model as transformers made it, with its adapters in place.

    Args:
        model: Anything; what is no known wrapper comes back as it is.

    Raises:
        UnsupportedModel: If the wrapper computes something that the model inside does not, such as virtual tokens.
    """
    while isinstance(model, nn.Module) and not isinstance(model, PreTrainedModel):
        inner = _adapted(model) if _is_of(model, "peft") else _inside(model)
        if inner is None:
            break
        model = inner
    return model


def _inside(model: nn.Module) -> nn.Module | None:
    """What ``torch.compile`` or a wrapper for several devices holds; None for anything else."""
    if type(model).__name__ == "OptimizedModule":
        return model.get_submodule("_orig_mod")
    return model.get_submodule("module") if _is_of(model, "torch.nn.parallel") else None


def _is_of(model: nn.Module, package: str) -> bool:
    return any(f"{cls.__module__}.".startswith(f"{package}.") for cls in type(model).__mro__)


def _adapted(model: Any) -> PreTrainedModel | None:
    """The model in which peft has put its adapters, proved to compute what peft's wrapper computes."""
    configs = dict(getattr(model, "peft_config", None) or {})
    kinds = ", ".join(sorted({str(getattr(one.peft_type, "value", one.peft_type)) for one in configs.values()}))
    if any(one.is_prompt_learning for one in configs.values()):
        raise UnsupportedModel(
            f"The peft model has a trained prompt ({kinds}): virtual tokens that stand in no text, so no map could "
            "name what comes from them. A prompt cannot be merged into the weights, either. Explain the model without "
            "it, model.get_base_model(), or train an adapter that changes weights, such as LoRA."
        )
    tuner = getattr(model, "base_model", model)
    inner = getattr(tuner, "model", None)
    if not isinstance(inner, PreTrainedModel):
        return None
    if not _same(model, inner):
        raise UnsupportedModel(
            f"The peft model ({kinds}) gives other outputs than the transformers model inside of it, so its adapters "
            "do more than stand in the place of layers, and an explanation of that model would be of another one. "
            "Merge them first, if they can be: contextmix.load(model.merge_and_unload())."
        )
    return inner


def _same(outer: Any, inner: PreTrainedModel) -> bool:
    """Whether both give the same on a short input; True if nobody knows one."""
    try:
        probe = _probe(inner)
        wanted = first_states(quiet_run(inner, probe))
    except ContextMixError:
        return True
    with evaluating(outer), torch.no_grad():
        found = first_states(outer(**probe))
    return wanted is not None and found is not None and close(found, wanted, tolerance(wanted.dtype))


def _probe(model: PreTrainedModel) -> dict[str, Any]:
    if not getattr(model.config, "is_encoder_decoder", False):
        return on_device(model, default_probe(model))
    return on_device(model, {**source_probe(model), "decoder_input_ids": torch.zeros(1, 3, dtype=torch.long)})
