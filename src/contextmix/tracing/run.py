"""Run a model without leaving a trace on it: evaluation mode, no gradients, no cache; everything restored."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode (dropout would make each run another model); each one's own mode comes back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def quiet_run(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Any:
    """The model's outputs in evaluation mode, without gradients and without a key-value cache."""
    accepted = inspect.signature(model.forward).parameters
    options = {"use_cache": False} if "use_cache" in accepted else {}
    with evaluating(model), torch.no_grad():
        return model(**inputs, **options, return_dict=True)


def first_states(*places: Any) -> Tensor | None:
    """The first floating-point tensor with at least two axes in a module's arguments or outputs: its hidden states."""
    for place in places:
        if isinstance(place, Tensor):
            if place.is_floating_point() and place.ndim >= 2:
                return place
            continue
        inner = place.values() if isinstance(place, Mapping) else place if isinstance(place, tuple | list) else ()
        found = first_states(*inner)
        if found is not None:
            return found
    return None
