"""Who wants to know what passes through attention, and who of them listens now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from torch import Tensor, nn

from contextmix.traces.trace import Scores


class Listener(Protocol):
    """Whoever wants to know what passes through attention."""

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """One attention call: weights (batch, head, query, key), value before grouped keys are repeated, output.

        The scores hold query and key as attention reads them (rotated, where positions enter so), keys before grouped
        ones are repeated; None where attention is no function of the registry, so that only its product is seen.
        """


class ValueEditor(Listener, Protocol):
    """A listener that changes the values before attention reads them."""

    def edited(self, module: nn.Module, n_heads: int, value: Tensor) -> Tensor:
        """Other values (batch, key-value head, key, d_head), of so many heads that weigh them."""


class RoutedListener(Listener, Protocol):
    """A listener that is told of mixers that are no attention as well."""

    def routed(self, module: nn.Module, call: Any) -> None:
        """One call of such a mixer, a `routing.Routed`: its maps are made when they are asked for."""


class LonelyListener(Listener, Protocol):
    """A listener under which each token attends to itself alone, so that a model mixes no tokens where it can."""

    def alone(self, query: Tensor, value: Tensor) -> Tensor | None:
        """The output of attention (batch, query, head, d_head); None to let it attend."""


class RowListener(Listener, Protocol):
    """A listener that wants the weights of some rows alone; a fused attention then runs as it is set.

    Attributes:
        rows: Neighbouring queries.
    """

    rows: slice


class TileListener(Listener, Protocol):
    """A listener that makes weights itself, some rows at a time: nothing of the size of a whole map is made for it."""

    def attending(self, call: Any, output: Tensor) -> None:
        """One attention call, a `row_attention.Attending`, and what it gave."""


_listener: ContextVar[Listener | None] = ContextVar("contextmix_listener", default=None)


def current() -> Listener | None:
    """Who listens in this thread."""
    return _listener.get()


def listening(listener: Listener) -> bool:
    """Whether a listener is the active one here: hooks are global, and another thread's run is none of its business."""
    return _listener.get() is listener


@contextmanager
def heard_by(listener: Listener | None) -> Iterator[None]:
    """What passes through attention in this thread is this listener's, or nobody's."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def unheard() -> Iterator[None]:
    """Runs that are asked for inside of a recording, by its visitor, are none of its business either."""
    with heard_by(None):
        yield
