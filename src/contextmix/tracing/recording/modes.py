"""Numbers do not depend on where they are asked for: inside of autocast, inference mode or another recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch

from contextmix.tracing.recording.listeners import unheard

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def own_modes() -> Iterator[None]:
    """Neither autocast, which rounds products to 8 bits, nor inference mode, in which there are no derivatives."""
    with ExitStack() as stack:
        stack.enter_context(unheard())
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())  # leaving inference mode turns gradients on
        for device in ("cpu", "cuda", "xpu", "mps"):
            if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def undisturbed(function: F) -> F:
    """A function that runs in `own_modes`."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with own_modes():
            return function(*args, **kwargs)

    return cast(F, run)
