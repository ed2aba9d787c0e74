"""Weights of a block pushed through its norms, kept for as long as both are what they were.

Of a short text, to push an output projection through two norms costs as much as a good part of the block. What comes
out depends on the weights alone. Whether these are the same is seen from what they hold, not from who changed them: see
`contextmix.tracing.recording.kept_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from weakref import ref

from torch import Tensor

from contextmix.maths.norms import Norm

Steps = tuple[str, ...]
"""What a weight was pushed through, in order: the names of norms, and factors."""


class Pushed:
    """What was made of one weight. The next run of the model sees it as `of` the weight and norms that it found.

    Args:
        room: How many bytes may still be kept, in a list of one number that all blocks of a model share.
        sketch: The weight along a few directions, for the checks.
    """

    def __init__(self, room: list[int], sketch: Tensor) -> None:
        self._room, self._made = room, {}  # type: tuple[list[int], dict[Steps, Tensor]]
        self._base: Callable[[], Tensor | None] = lambda: None
        self._sketch = sketch
        self._norms: dict[int, tuple[str, Norm]] = {}

    def of(self, base: Tensor, norms: Mapping[str, Norm | None]) -> Pushed:
        """The same for the objects of this run, which hold what those of the last one held.

        Args:
            base: The weight.
            norms: By name.
        """
        self._base = ref(base)  # of a model in half precision it is a copy, which goes with the run
        self._norms = {id(norm): (name, norm) for name, norm in norms.items() if norm is not None}
        return self

    def sketch_of(self, weight: Tensor) -> Tensor | None:
        """What the checks need of this weight; None of another one."""
        return self._sketch if weight is self._base() else None

    def next_steps(self, weight: Tensor, steps: Steps, through: Norm | float) -> Steps | None:
        """The steps behind a norm or a factor; None if this is not the weight that stands behind the steps before.

        Args:
            weight: What is pushed.
            steps: What it was pushed through so far.
            through: What comes next.
        """
        if weight is not (self._made.get(steps) if steps else self._base()):
            return None
        if isinstance(through, float):
            return (*steps, f"times {through!r}")
        name, _ = self._norms.get(id(through), ("", None))
        return (*steps, name) if name else None

    def get(self, steps: Steps, make: Callable[[], Tensor]) -> Tensor:
        """What stands behind these steps; made, and kept if there is room, where it is not there yet."""
        found = self._made.get(steps)
        if found is None:
            found = make().contiguous()  # a matrix of PyTorch lies the other way round, which makes products slower
            size = found.numel() * found.element_size()
            if size <= self._room[0]:
                self._room[0] -= size
                self._made[steps] = found
        return found

    def drop(self) -> None:
        """Give back the room of what is kept."""
        self._room[0] += sum(one.numel() * one.element_size() for one in self._made.values())
        self._made.clear()


def same(left: Sequence[Tensor | float | None], right: Sequence[Tensor | float | None]) -> bool:
    """Whether two lists hold the same numbers, to the last bit."""
    return len(left) == len(right) and all(map(_same, left, right))


def _same(left: Tensor | float | None, right: Tensor | float | None) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        alike = (left.shape, left.dtype, left.device) == (right.shape, right.dtype, right.device)
        return alike and left.equal(right)
    return left is right or (not isinstance(left, Tensor) and not isinstance(right, Tensor) and left == right)
