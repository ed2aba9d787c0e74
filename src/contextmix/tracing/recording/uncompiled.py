"""A compiled model runs as it was written while it is recorded: hooks of a recording cannot be compiled into it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from contextmix.tracing.recording.turns import undone
from contextmix.tracing.recording.walk import modules_of


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Calls of this thread pass over what ``torch.compile`` made of the model or of its parts; others use it."""
    with ExitStack() as stack:
        for module in modules_of(model):
            kept = module.__dict__
            if kept.get("_compiled_call_impl") is not None:  # module.compile()
                _swap(stack, module, "_compiled_call_impl", module._call_impl)
            written = getattr(kept.get("forward"), "_torchdynamo_orig_callable", None)
            whole = kept.get("_modules", {}).get("_orig_mod")
            if whole is not None and "forward" in kept:  # torch.compile(module)
                _swap(stack, module, "forward", whole)
            elif written is not None:  # module.forward = torch.compile(module.forward)
                _swap(stack, module, "forward", written)
        yield


def _swap(stack: ExitStack, module: nn.Module, name: str, written: Callable[..., Any]) -> None:
    compiled = module.__dict__[name]
    if getattr(compiled, "__module__", None) == __name__:  # within another recording
        return
    own = threading.get_ident()

    def call(*args: Any, **kwargs: Any) -> Any:
        return (written if threading.get_ident() == own else compiled)(*args, **kwargs)

    stack.enter_context(undone(lambda: module.__dict__.__setitem__(name, compiled)))
    module.__dict__[name] = call
