"""What layers between the blocks add to each token, which read one token at a time and so move nothing in a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from contextmix.maths.precision import at_least_float32
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.turns import after, before


class Passing:
    """Adds up what these layers do to the stream from one block to the next.

    Args:
        enter: Called with the module and arguments of a layer that begins.
        leave: Called with the output of one that ends.
    """

    def __init__(self, enter: Callable[..., None], leave: Callable[[Any], None]) -> None:
        self.enter, self.leave = enter, leave
        self._read: Tensor | None = None
        self._added: Tensor | None = None

    def hooks(self, model: nn.Module, paths: tuple[str, ...]) -> Iterator[Any]:
        """On the layers."""
        for path in paths:
            layer = model.get_submodule(path)
            yield before(layer, self._begins)
            yield after(layer, self._ends)

    def taken(self) -> Tensor | None:
        """What was added since the last block, in float32 at least; None for nothing."""
        found, self._added = self._added, None
        return found

    def _begins(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.enter(module, args, kwargs)
        states = first_states(args, kwargs)
        self._read = None if states is None else at_least_float32(states.detach()).clone()

    def _ends(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        states = first_states(output)
        if states is not None and self._read is not None:
            added = at_least_float32(states.detach()) - self._read
            self._added = plus(self._added, added)
        self.leave(output)


def plus(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    """Both, where there are both."""
    return right if left is None else left if right is None else left + right
