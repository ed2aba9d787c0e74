"""Hear some rows of the blocks of a model of one stack, while its fused attention runs as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.maths.precision import at_least_float32
from contextmix.traces.anatomy import Anatomy, BlockAnatomy
from contextmix.traces.trace import LayerTrace, Scores
from contextmix.tracing.recording.block_recorder import STATES, BlockRecorder
from contextmix.tracing.recording.blocks.additions import taken_additions
from contextmix.tracing.recording.blocks.passing import plus
from contextmix.tracing.recording.listeners import listening
from contextmix.tracing.recording.quiet import over, turned
from contextmix.tracing.recording.recorder import Attended, Recorder, of_every_head
from contextmix.tracing.recording.resolve import resolve_block, with_constant
from contextmix.tracing.recording.row_attention import by_itself
from contextmix.tracing.recording.verify import tolerance

Heard = tuple[Tensor, Tensor]
"""Weights (head, row, key), and values (key-value head, key, d_head), in the model's precision."""
RowVisitor = Callable[[LayerTrace, Heard], None]


class RowRecorder(BlockRecorder):
    """Of some rows of blocks with one attention; a `tap.RowListener`.

    A run without a trace needs most memory in its feed-forward parts. So nothing of the size of the sequence may lie
    about while these run but what is kept for good: weights of these rows, and values as the model made them.

    Args:
        rows: Neighbouring positions.
        visit: See `record_rows`.
    """

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy, rows: slice, visit: RowVisitor) -> None:
        super().__init__(model, anatomy, visit)
        self.rows, self.tokens = rows, torch.Size()
        self.weighed: Heard | None = None

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Of what enters a block these rows are kept, and nothing to run it again with."""
        if listening(self):
            Recorder.enter(self, module, args, kwargs)
            self.note_added(args, kwargs)
            self.replays.clear()
            entered = self.said["entered"]
            self.tokens = entered.shape[:-1]
            self.said["entered"] = entered[:, self.rows].clone()

    def shaped(self, states: Tensor) -> Tensor:
        """These rows alone, at once: all rows of the states of a block are a good part of what a run takes."""
        return (turned(states) if self.turned else over(states, self.tokens))[:, self.rows].clone()

    def attended_by(self, attention: Tensor, value: Tensor, scores: Scores | None) -> Attended:
        """Weights and values, which heads share as in the model; neither queries nor keys."""
        return Attended(by_itself(attention), by_itself(value), None)

    def steps(self, place: BlockAnatomy, ran_in: torch.dtype) -> tuple[LayerTrace, ...]:
        """The block is one step."""
        heard = self.weighed_in_all()
        attention, value = heard.attention, heard.value
        self.weighed = attention.detach()[0], value.detach()[0]
        more = taken_additions(self.said, place)
        said = {own: self.said[name] for name, own in STATES.items()}
        said |= {"attention": attention, "value": of_every_head(value, attention.shape[1])}
        tensors: dict[str, Any] = {name: at_least_float32(tensor.detach()) for name, tensor in said.items()} | more
        if (added := plus(self.later.pop(self.number, None), self.brought)) is not None:
            tensors["added"] = added[:, self.rows].clone()
        tensors |= {"tolerance": tolerance(ran_in), "values_of": place.values_of, **self.gate(place, tensors, ran_in)}
        block = with_constant(resolve_block(self.model, place, attention.shape[1]), heard.constant)
        layer = LayerTrace(index=self.number, block=block, channelwise=heard.constant is not None, **tensors)
        if place.beside is not None:
            layer = self.with_mixer(place, layer)
            self.weighed = layer.attention[0], layer.value[0]
        return (layer,)

    def show(self, *steps: LayerTrace) -> None:
        """What is kept of the block, without a batch axis."""
        assert self.weighed is not None  # of the step that is shown
        self.visit(steps[0][0], self.weighed)
        self.weighed = None
