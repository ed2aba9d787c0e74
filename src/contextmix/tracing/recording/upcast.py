"""Run a half-precision model in float32 without a second copy of it: each module's weights only while it runs.

In bfloat16 a sum has two to three digits, too few to tell which tensor is the sum of which others. So the anatomy is
looked for in float32. Half-precision weights are exact in float32. The model keeps its own tensors: a module's call is
made on a twin of it that holds the same ones in float32, in the thread that asked; others run the model as it is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.tracing.recording.offload import is_offloaded_itself, stored
from contextmix.tracing.recording.turns import undone
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
            call = _between_float32(module) if is_quantised(module) else _upcast(module)
            if call is not None:
                stack.enter_context(called(module, call))
        yield


@contextmanager
def called(module: nn.Module, call: Callable[..., Any]) -> Iterator[None]:
    """Calls of a module in this thread go somewhere else; no hook, which would change what other hooks read."""
    kept, own, thread = module.__dict__, module.forward, threading.get_ident()
    before = kept.get("forward")  # accelerate puts one there, too

    def forward(*args: Any, **kwargs: Any) -> Any:
        return (call if threading.get_ident() == thread else own)(*args, **kwargs)

    def undo() -> None:
        kept.pop("forward", None)
        if before is not None:
            kept["forward"] = before

    with undone(undo):
        kept["forward"] = forward
        yield


def _between_float32(module: nn.Module) -> Callable[..., Any]:
    """A quantised module computes in its own half precision; what it reads and writes stays in float32."""
    half = next((tensor.dtype for tensor in module.parameters(recurse=False) if tensor.dtype in _HALF), None)
    own = module.forward

    def call(*args: Any, **kwargs: Any) -> Any:
        if half is not None:
            args, kwargs = (_cast(one, (torch.float32,), half) for one in (args, kwargs))
        return _cast(own(*args, **kwargs), _HALF, torch.float32)

    return call


def _upcast(module: nn.Module) -> Callable[..., Any] | None:
    """One module with its own weights and buffers in float32; None if none of them is in half precision."""
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    read = [] if isinstance(module, PreTrainedModel) else [child for child in module.children() if _is_leaf(child)]
    known = [weight for child in read for weight in child.parameters()]
    if not any(tensor.dtype in _HALF for tensor in (*own, *known)):
        return None
    # Someone else's knows the module, and would not run a twin; one that only fetches weights has nothing to add.
    run = None if is_offloaded_itself(module) else module.__dict__.get("forward")

    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = (_cast(one, _HALF, torch.float32) for one in (args, kwargs))
        if run is None:
            return type(module).forward(_twin(module), *args, **kwargs)
        with _swapped(own):
            return run(*args, **kwargs)

    return call


def _twin(module: nn.Module) -> Any:
    """A module of the same class with the same parts, and its own weights in float32."""
    found = object.__new__(type(module))
    known: dict[int, Tensor] = {}

    def cast(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor) or tensor.dtype not in _HALF:
            return tensor
        if id(tensor) not in known:
            known[id(tensor)] = tensor.detach().float()
        return known[id(tensor)]

    for name, value in vars(module).items():
        if name == "_parameters":  # parameters they stay: what multiplies by one is known to be linear by that
            value = {one: _parameter(cast(stored(module, one))) for one in value}
        elif name == "_buffers":
            value = {one: cast(stored(module, one)) for one in value}
        elif name == "_modules":
            value = {one: _read_from_outside(child) for one, child in value.items()}
        elif type(value) is list:  # recurrent layers keep a list of their weights
            value = [cast(one) for one in value]
        found.__dict__[name] = value
    found.__dict__.pop("forward", None)
    return found


def _read_from_outside(child: nn.Module | None) -> nn.Module | None:
    """A part whose weights may be read without a call (a mixer convolves by itself): in float32; called as it is."""
    if child is None or not _is_leaf(child):
        return child
    if not any(tensor is not None and tensor.dtype in _HALF for tensor in child._parameters.values()):
        return child
    found = object.__new__(type(child))
    found.__dict__ |= {**vars(child), "_parameters": _InFloat32(child), "forward": child.__call__}
    found.__dict__ |= {name: OrderedDict() for name in vars(child) if name.endswith("_hooks")}
    return found


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


class _InFloat32(dict[str, Any]):
    """The weights of a module, each in float32 from when it is asked for."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module._parameters)
        self.module = module

    def __getitem__(self, name: str) -> Any:
        tensor = stored(self.module, name)
        return tensor if tensor is None or tensor.dtype not in _HALF else _parameter(tensor.detach().float())


def _parameter(tensor: Any) -> Any:
    plain = isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter)
    return nn.Parameter(tensor, requires_grad=False) if plain else tensor


@contextmanager
def _swapped(tensors: list[Tensor]) -> Iterator[None]:
    """The tensors themselves in float32, for a call that cannot be made on a twin."""
    stored = [(tensor, tensor.data) for tensor in tensors if tensor.dtype in _HALF]

    def undo() -> None:
        for tensor, data in stored:
            tensor.data = data

    with undone(undo):
        for tensor, data in stored:
            tensor.data = data.float()
        yield


def _cast(place: Any, old: tuple[torch.dtype, ...], new: torch.dtype) -> Any:
    """The same arguments with the tensors of some precisions in another."""
    if isinstance(place, Tensor):
        return place.to(new) if place.dtype in old else place
    if type(place) is dict:
        return {name: _cast(value, old, new) for name, value in place.items()}
    if type(place) in (tuple, list):
        return type(place)(_cast(value, old, new) for value in place)
    return place
