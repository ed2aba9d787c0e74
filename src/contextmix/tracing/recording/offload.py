"""Weights that accelerate keeps on disk, or in memory beside a GPU, until their module runs.

Such a module holds tensors without content (on the device "meta") and a hook that fetches the real ones when it is
called. Running the model needs nothing of us. What is read without a call, such as the matrix of a projection, is
fetched here, for as long as its reader holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def stored(module: nn.Module, name: str) -> Tensor | None:
    """A tensor of a module with its content, wherever that is kept; None if the module has no such tensor."""
    own = getattr(module, name, None)
    if not isinstance(own, Tensor):
        return None
    fetched = _fetched(module, name) if own.is_meta else None
    return own if fetched is None else fetched.to(device=execution_device(module), dtype=own.dtype)


def is_offloaded(model: nn.Module) -> bool:
    """Whether any weight is kept elsewhere until it is used."""
    return any(is_offloaded_itself(module) for module in model.modules())


def is_offloaded_itself(module: nn.Module) -> bool:
    """Whether weights of this very module, not of its parts, are kept elsewhere."""
    return _kept(module) is not None


def lost(model: nn.Module) -> Iterator[str]:
    """The paths of weights without content that no hook can fetch."""
    for path, module in model.named_modules():
        kept = _kept(module)
        wanted = [name for name, own in module.named_parameters(recurse=False) if own.is_meta or kept is not None]
        known = _names(kept) if wanted else ()
        yield from (f"{path}.{name}" for name in wanted if name not in known)


def execution_device(module: nn.Module) -> torch.device:
    """Where a module computes: where its hook says, or where its first tensor is."""
    for hook in _hooks(module):
        named = getattr(hook, "execution_device", None)
        if named is not None:
            return torch.device(named)
    first = next((own for own in (*module.parameters(), *module.buffers()) if not own.is_meta), None)
    return torch.device("cpu") if first is None else first.device


def device_of(model: PreTrainedModel) -> torch.device:
    """Where a model wants its inputs."""
    return execution_device(model) if any(True for _ in _hooks(model)) else model.device


def _fetched(module: nn.Module, name: str) -> Tensor | None:
    kept = _kept(module)
    try:
        return None if kept is None else kept[name]
    except KeyError:
        return None


def _kept(module: nn.Module) -> Mapping[str, Tensor] | None:
    """What a module's hook fetches for it, by name."""
    found = [hook.weights_map for hook in _hooks(module) if getattr(hook, "offload", False)]
    return next((one for one in found if one is not None), None)


def _names(kept: Mapping[str, Tensor] | None) -> set[str]:
    """Which tensors can be fetched; to ask a mapping of accelerate whether it has one would read it from the disk."""
    prefix = getattr(kept, "prefix", "")
    return {name.removeprefix(prefix) for name in kept or ()}


def _hooks(module: nn.Module) -> Iterator[Any]:
    """The hooks of accelerate on one module."""
    hook = getattr(module, "_hf_hook", None)
    if hook is not None:
        yield from getattr(hook, "hooks", [hook])
