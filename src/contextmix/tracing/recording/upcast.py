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

from contextmix.tracing.recording.verify import is_quantised

_HALF = (torch.float16, torch.bfloat16)


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Every module computes in float32 while the context lasts; modules in other precisions stay as they are.

    Quantised modules compute as they do, between float32 states. Memory: the weights of one module (and of those around
    it that hold weights of their own) in float32.
    """
    with ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(_between_float32(module) if is_quantised(module) else _upcast(module))
        yield


@contextmanager
def _between_float32(module: nn.Module) -> Iterator[None]:
    """A quantised module computes in its own half precision; what it reads and writes stays in float32."""
    half = next((tensor.dtype for tensor in module.parameters(recurse=False) if tensor.dtype in _HALF), None)
    own = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if half is not None:
            args, kwargs = (_cast(one, (torch.float32,), half) for one in (args, kwargs))
        return _cast(own(*args, **kwargs), _HALF, torch.float32)

    before = module.__dict__.get("forward")  # accelerate puts one there, too
    module.forward = forward  # a hook would change what other hooks read
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


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
        return tuple(_cast(one, _HALF, torch.float32) for one in (args, kwargs))

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


def _cast(place: Any, old: tuple[torch.dtype, ...], new: torch.dtype) -> Any:
    """The same arguments with the tensors of some precisions in another."""
    if isinstance(place, Tensor):
        return place.to(new) if place.dtype in old else place
    if type(place) is dict:
        return {name: _cast(value, old, new) for name, value in place.items()}
    if type(place) in (tuple, list):
        return type(place)(_cast(value, old, new) for value in place)
    return place
