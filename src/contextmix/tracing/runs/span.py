"""Run a model once for some neighbouring rows, each of which says something."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from contextmix.traces.anatomy import Anatomy
from contextmix.traces.meaning import Meaning
from contextmix.traces.readout import Readout
from contextmix.traces.span_run import ReadRows, SpanRun
from contextmix.traces.target import Target
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.discovery.head import find_readout
from contextmix.tracing.inputs.encode import token_axis
from contextmix.tracing.recording.quiet import has_images
from contextmix.tracing.recording.record import record, record_rows
from contextmix.tracing.recording.row_recorder import RowVisitor
from contextmix.tracing.recording.scores import scores_in

_PROBE = 8
"""So many tokens show how the head of a causal model reads a row."""


@dataclass(frozen=True)
class Reading:
    """A model, one input, and where it says something.

    Attributes:
        model: The model.
        anatomy: Where its parts are.
        tensors: Model inputs with a batch axis of one.
        rows: Positions from 0, for a model with scores at each token; None for one with scores of the whole input.
        causal: Whether the model is causal, so that the first tokens by themselves are read as they are here.
    """

    model: PreTrainedModel
    anatomy: Anatomy
    tensors: Mapping[str, Tensor]
    rows: slice | None
    causal: bool = False

    def span(self, targets: Sequence[Target], meaning: Meaning) -> SpanRun | None:
        """The rows with the score that is explained at each; None if no single row makes the scores."""
        rows, readout = self.rows, self._readout
        if rows is None:
            found = find_readout(self.model, self.anatomy, self.tensors)
            if found is None:
                return None
            rows, readout = slice(found[1], found[1] + 1), lambda: found[0]

        def seen_by(visit: RowVisitor) -> Tensor:
            last = self._wanted(rows)
            outputs, _ = record_rows(self.model, self.anatomy, self.tensors, rows, visit, last_logits=last)
            return self._scores(rows, outputs)

        def record_span(visit: Callable[[ReadRows], None]) -> Tensor:
            return seen_by(lambda layer, heard: visit(ReadRows.of(layer, heard=heard)))

        def record_own() -> tuple[list[LayerTrace], Tensor]:
            layers: list[LayerTrace] = []
            return layers, seen_by(lambda layer, _: layers.append(layer))

        def record_all() -> tuple[list[LayerTrace], Tensor]:
            layers: list[LayerTrace] = []
            seen = lambda layer: layers.append(layer[0])  # noqa: E731
            outputs, _ = record(self.model, self.anatomy, self.tensors, seen, last_logits=self._wanted(rows))
            return layers, self._scores(rows, outputs)

        return SpanRun(rows, tuple(targets), record_span, record_own, record_all, readout, meaning)

    def _wanted(self, rows: slice) -> int:
        """How many of the last logits are needed; 0 for all."""
        return rows.stop - rows.start if self.rows is not None and rows.stop == self._length else 0

    def _scores(self, rows: slice, outputs: Any) -> Tensor:
        """(row, class)."""
        scores = scores_in(outputs)
        assert scores is not None  # a model without scores explains none
        if scores.ndim == 2:
            return scores
        return scores[0, -(rows.stop - rows.start) :] if self._wanted(rows) else scores[0, rows]

    def _readout(self) -> Readout | None:
        """How the head reads a row; shown by the first tokens where later ones change nothing and no image is cut."""
        assert self.rows is not None
        tensors, position = self.tensors, self.rows.start
        if self.causal:
            position = -1
        if self.causal and not has_images(tensors):
            stop, length = min(_PROBE, self._length), self._length
            tensors = {name: _first(name, value, stop, length) for name, value in tensors.items()}
        found = find_readout(self.model, self.anatomy, tensors, position)
        return None if found is None else found[0]

    @property
    def _length(self) -> int:
        """The number of tokens of a model that reads tokens."""
        read = self.tensors.get("input_ids", self.tensors.get("inputs_embeds"))
        return -1 if read is None else read.shape[1]


def _first(name: str, value: Tensor, stop: int, length: int) -> Tensor:
    axis = token_axis(name, value[0], length)
    return value if axis is None else value.narrow(axis + 1, 0, stop)


def span_at(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    where: tuple[int | None, int],
    target: Target,
    meaning: Meaning,
) -> SpanRun | None:
    """The row whose scores are explained, by itself.

    Args:
        model: The model.
        anatomy: Where its parts are.
        tensors: Model inputs with a batch axis of one.
        where: The position whose scores they are (-1 for the last one of a causal model; None for scores of the whole
            input), and how many tokens there are.
        target: The explained score.
        meaning: What the scores are.
    """
    place, count = where
    rows = None if place is None else slice(place % count, place % count + 1)
    return Reading(model, anatomy, tensors, rows, causal=place == -1).span([target], meaning)
