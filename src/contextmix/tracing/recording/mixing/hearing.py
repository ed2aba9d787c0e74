"""Hear mixers that are no attention while a model runs, and put other values into them where a listener wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from transformers.cache_utils import Cache

from contextmix.errors import UnsupportedModel
from contextmix.traces.mixing import Channels
from contextmix.tracing.recording.listeners import Listener, listening
from contextmix.tracing.recording.mixing.again import Held, Writing
from contextmix.tracing.recording.mixing.routing import Routed, read_by
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.turns import after, before, undone


@contextmanager
def routing(mixers: Mapping[nn.Module, Channels], listener: Listener) -> Iterator[None]:
    """Tell a listener of these mixers, in this thread, if it wants to know of them or to change their values."""
    if not mixers or not (hasattr(listener, "routed") or hasattr(listener, "edited")):
        yield
        return
    mode = _Hearing(mixers, listener)
    with ExitStack() as stack:
        for module, place in mixers.items():
            stack.enter_context(undone(before(module, mode.enter).remove))
            stack.enter_context(undone(before(module.get_submodule(place.projection), mode.read, first=True).remove))
            stack.enter_context(undone(after(module, mode.leave).remove))
        stack.enter_context(mode)
        yield


class _Hearing(Writing):
    """Writes down what mixers make while the model runs, and changes their values where a listener wants others."""

    def __init__(self, mixers: Mapping[nn.Module, Channels], listener: Listener) -> None:
        super().__init__(factors=hasattr(listener, "routed"))
        self.mixers, self.listener = mixers, listener
        self.open: tuple[nn.Module, tuple[Any, ...], dict[str, Any]] | None = None
        self.clean: Held | None = None

    def acts(self) -> bool:
        """Within a mixer, up to its output projection."""
        return self.open is not None and listening(self.listener)

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pre-hook of a mixer."""
        if not listening(self.listener):
            return
        _refuse_cache(module, args, kwargs)
        place = self.mixers[module]
        if hasattr(self.listener, "edited") and place.held:
            mode = Writing(factors=False)
            read_by(module, place.projection, args, kwargs, mode)
            self.clean = mode.made
        self.open, self.made, self.products, self.points = (module, args, kwargs), Held(), 0, 0

    def read(self, projection: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pre-hook of its output projection."""
        if not self.acts():
            return
        assert self.open is not None  # it acts
        module, called, named = self.open
        self.open = None
        output = first_states(args, kwargs)
        listener: Any = self.listener
        if output is not None and hasattr(listener, "routed"):
            listener.routed(module, Routed(module, self.mixers[module], called, named, self.made, output))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A forward hook of a mixer."""
        if listening(self.listener):
            self.open, self.clean, self.made = None, None, Held()

    def product(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        assert self.open is not None  # it acts
        place = self.mixers[self.open[0]]
        if self.clean is not None and number in place.held:
            return self.clean.products[number]
        wrote = super().product(number, func, args, kwargs)
        if number != place.value or not hasattr(self.listener, "edited"):
            return wrote
        columns = list(place.columns)
        values = wrote[..., columns].transpose(1, 2).unsqueeze(-1)
        wrote = wrote.clone()
        wrote[..., columns] = self.listener.edited(self.open[0], len(columns), values).squeeze(-1).transpose(1, 2)
        return wrote


def _refuse_cache(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if any(isinstance(one, Cache) for one in (*args, *kwargs.values())):
        raise UnsupportedModel(
            f"{type(module).__name__} runs with a cache of what was read before, whose state holds values of other "
            "tokens, so its own values cannot be recorded or changed by themselves. No number was produced. Run it "
            "without one."
        )
