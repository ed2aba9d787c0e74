"""Run a half-precision model in float32 without a second copy of it: each module's weights only while it runs.

In bfloat16 a sum has two to three digits, too few to tell which tensor is the sum of which others. So the anatomy is
looked for in float32. Half-precision weights are exact in float32, and the model gets its own tensors back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_HALF = (torch.float16, torch.bfloat16)


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Every module computes in float32 while the context lasts; modules in other precisions stay as they are.

    Memory: the weights of one module (and of those around it that hold weights of their own) in float32.
    """
    with ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(_upcast(module))
        yield


@contextmanager
def _upcast(module: nn.Module) -> Iterator[None]:
    """One module's own weights and buffers, from its pre-hook to its hook."""
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    halves = [tensor for tensor in own if tensor.dtype in _HALF]
    if not halves:
        yield
        return
    stored = [tensor.data for tensor in halves]

    def enter(_: nn.Module, args: Any, kwargs: Any) -> Any:
        for tensor, data in zip(halves, stored, strict=True):
            tensor.data = data.float()
        return _float32(args), _float32(kwargs)

    def leave(*_: Any) -> None:
        for tensor, data in zip(halves, stored, strict=True):
            tensor.data = data

    handles = [
        module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True),
        module.register_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        leave()
        for handle in handles:
            handle.remove()


def _float32(place: Any) -> Any:
    """The same arguments with tensors of half precision in float32."""
    if isinstance(place, Tensor):
        return place.float() if place.dtype in _HALF else place
    if type(place) is dict:
        return {name: _float32(value) for name, value in place.items()}
    if type(place) in (tuple, list):
        return type(place)(map(_float32, place))
    return place
