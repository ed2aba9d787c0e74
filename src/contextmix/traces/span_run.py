"""SpanRun: some rows of one sequence and what is said there, for methods that read these rows and no others.

A score of the whole input is read at one row, the tokens of an answer at one row each, next to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from contextmix.errors import TraceDoesNotAddUp
from contextmix.maths.kept import kept
from contextmix.maths.shapes import by_shapes
from contextmix.traces.block import Block, BlockStates
from contextmix.traces.meaning import Meaning
from contextmix.traces.readout import Readout
from contextmix.traces.target import Target
from contextmix.traces.trace import LayerTrace

T = TypeVar("T")


@dataclass(frozen=True)
class ReadRows:
    """The rows of one block that are read, and the values of all positions.

    Attributes:
        block: The block's parameters.
        attention: (head, row, key), in the precision in which it was recorded.
        value: (key-value head, key, d_head): heads share them in neighbouring groups; the same.
        states: The block equation at these rows.
        residual_out: (row, d_model): what the model computed there.
        tolerance: See `LayerTrace`.
        first: The column of its first key: rows see nothing in front of their window, and steps of a run may have keys
            of different sequences side by side.
        added: See `LayerTrace`.
        gate: See `LayerTrace`, without a batch axis.
    """

    __repr__ = by_shapes

    block: Block
    attention: Tensor
    value: Tensor
    states: BlockStates
    residual_out: Tensor
    tolerance: float
    first: int = 0
    added: Tensor | None = None
    gate: Tensor | None = None

    @property
    def columns(self) -> slice:
        """The columns of its keys."""
        return slice(self.first, self.first + self.attention.shape[-1])

    @classmethod
    def of(cls, layer: LayerTrace, first: int = 0, heard: tuple[Tensor, Tensor] | None = None) -> ReadRows:
        """Of a proved trace of these rows.

        Args:
            layer: The trace, without a batch axis.
            first: See above.
            heard: Weights and values as attention read them, in the model's precision; left out, those of the trace.
        """
        weights, value = (layer.attention, _once_per_group(layer)) if heard is None else heard
        seen = weights.ne(0).any(1).any(0).int()
        start = int(seen.argmax()) if bool(seen.any()) else 0
        if start:  # a window: no row looks further back, and what is not seen need not be kept
            weights, value = weights[..., start:].clone(), value[:, start:].clone()
        said = layer.residual_in, layer.attention_out, layer.ffn_out, layer.attention_added, layer.ffn_added
        behind = layer.residual_out, layer.tolerance, first + start, layer.added, layer.gate
        return cls(layer.block, weights, value, BlockStates(layer.block, *said), *behind)


def _once_per_group(layer: LayerTrace) -> Tensor:
    groups = 1 if layer.scores is None else len(layer.value) // layer.scores.key.shape[-3]
    return layer.value[::groups].contiguous()


@dataclass(frozen=True)
class RowGradients:
    """The gradients of the explained scores of some rows, of one run.

    Attributes:
        embeddings: (key, d_model): what entered the first block.
        scores: (row, class).
        each: Gives the gradient of each row's score with respect to the embeddings, (key, d_model), one after another.
    """

    __repr__ = by_shapes

    embeddings: Tensor
    scores: Tensor
    each: Callable[[], Iterator[Tensor]]


@dataclass(frozen=True)
class SpanRun:
    """Neighbouring rows of one sequence, and the score that is explained at each.

    Attributes:
        rows: Their positions, from 0.
        targets: One per row.
        record: Runs the model once, shows what was read at these rows in each block, and gives the scores (row, class).
        record_rows: Runs the model once and gives a proved `LayerTrace` of these rows per block, and the same scores.
        record_all: The same with all rows of every block.
        readout: Finds the head; None if it is not one of the usual kind.
        meaning: What the scores are.
        units: For each position the unit that it belongs to (its word, its sentence), for methods that count what
            leaves a unit; None: each position is one.
        memory_budget: Bytes that a method may use for its own tensors; None where no method that needs many is asked.
        record_gradients: Runs the model once, so that the scores of these rows can be followed back; None where no run
            does that.
    """

    __repr__ = by_shapes

    rows: slice
    targets: tuple[Target, ...]
    record: Callable[[Callable[[ReadRows], None]], Tensor]
    record_rows: Callable[[], tuple[list[LayerTrace], Tensor]]
    record_all: Callable[[], tuple[list[LayerTrace], Tensor]]
    readout: Callable[[], Readout | None]
    meaning: Meaning = Meaning.ONE_OF
    units: tuple[int, ...] | None = None
    record_gradients: Callable[[], RowGradients] | None = None
    memory_budget: int | None = None

    @kept
    def recorded(self) -> tuple[list[ReadRows], Tensor]:
        """All blocks, and the scores (row, class); the model runs once, whoever asks."""
        found: list[ReadRows] = []
        scores = self.record(found.append)
        return found, scores

    @kept
    def recorded_rows(self) -> tuple[list[LayerTrace], Tensor]:
        """The same with everything that the blocks computed in these rows."""
        return self.record_rows()

    @kept
    def recorded_all(self) -> tuple[list[LayerTrace], Tensor]:
        """The same with all rows of every block: memory grows with the square of the length."""
        return self.record_all()

    @kept
    def _row_gradients(self) -> RowGradients:
        assert self.record_gradients is not None  # `ModelMethod.reads` says where it is
        return self.record_gradients()

    @property
    def embeddings(self) -> Tensor:
        """What entered the first block (key, d_model), of the run whose scores are followed back."""
        return self._row_gradients.embeddings

    def gradients(self) -> Iterator[Tensor]:
        """The gradient of each row's score at the embeddings, (key, d_model); all rows share one run.

        Raises:
            UnsupportedModel: If no gradient can be taken, or one is zero everywhere.
            NotFinite: If one is NaN or infinite.
        """
        for target, found in zip(self.targets, self._row_gradients.each(), strict=True):
            target.refuse_gradient(found)
            yield found

    @property
    def scores(self) -> Tensor:
        """(row, class), of whatever run there was; the model runs if there was none."""
        if "_row_gradients" in self.__dict__:
            return self._row_gradients.scores
        runs = [self.__dict__[name] for name in ("recorded", "recorded_rows", "recorded_all") if name in self.__dict__]
        return (runs[0] if runs else self.recorded)[1]

    def once(self, name: Hashable, make: Callable[[], T]) -> T:
        """What a method makes of this run, kept for the one that asks for another part of it.

        Args:
            name: Whose it is, and under which options.
            make: Makes it.
        """
        made: dict[Hashable, Any] = self.__dict__.setdefault("_made", {})
        if name not in made:
            made[name] = make()
        found: T = made[name]
        return found

    def proved_readout(self, last: Tensor, scores: Tensor, allowed: float) -> Readout | None:
        """The head, proved on these rows; None if it is not of the usual kind.

        Args:
            last: The last block's output at these rows, (row, d_model).
            scores: (row, class).
            allowed: The largest relative difference.

        Raises:
            TraceDoesNotAddUp: If it does not make the scores of these rows.
        """
        found = self._readout
        if found is None:
            return None
        gap = float((found.scores(last) - scores).abs().max() / scores.abs().max())
        if not gap <= allowed:
            raise TraceDoesNotAddUp(
                f"The head that was found gives other scores than the model: they differ by {gap:.1e} (relative; "
                f"allowed {allowed:.0e}). Something acts between the last block and the head, so no direction in the "
                "last block's output stands for a score. No number was produced."
            )
        return found

    @kept
    def _readout(self) -> Readout | None:
        return self.readout()
