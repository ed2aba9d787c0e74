"""Hear a run of a model of one stack, so that any rows of any of its maps can be made afterwards; no map is kept.

What is kept of each block grows with the length of the input, not with its square: queries, keys and values as
attention read them, and the states of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.maths.grams import Grams
from contextmix.maths.kept import kept
from contextmix.maths.precision import at_least_float32
from contextmix.traces.anatomy import Anatomy, BlockAnatomy
from contextmix.traces.block import Block
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.recording.block_recorder import STATES, BlockRecorder
from contextmix.tracing.recording.blocks.additions import taken_additions
from contextmix.tracing.recording.blocks.outlet import recorded_gate
from contextmix.tracing.recording.listeners import listening
from contextmix.tracing.recording.recorder import Attended, Recorder, of_every_head
from contextmix.tracing.recording.resolve import resolve_block
from contextmix.tracing.recording.row_attention import Attending, by_itself
from contextmix.tracing.recording.verify import tolerance


def obstacle(place: BlockAnatomy) -> str | None:
    """Why the maps of a block cannot be made some rows at a time; None where they can."""
    if place.mixer is not None or place.beside is not None:
        return "a layer mixes tokens otherwise than by the attention of the registry"
    if place.values_of is not None:
        return "a layer mixes the values of an earlier one"
    if place.stream is not None or place.turned or place.picture:
        return "the states of a layer have another form than (batch, token, d_model)"
    return None


@dataclass
class KeptBlock:
    """One block of a run that is over.

    Attributes:
        model: The model.
        number: Of the block.
        place: Where its parts are.
        said: What `STATES` names, and what was noted beside it, (1, query, …), in the model's precision.
        call: Its attention.
        heads: What its heads gave, (1, query, head, d_head), where something stands behind them.
        ran_in: The precision in which it ran.
    """

    model: PreTrainedModel
    number: int
    place: BlockAnatomy
    said: dict[str, Tensor]
    call: Attending
    heads: Tensor | None
    ran_in: torch.dtype

    @property
    def length(self) -> int:
        """How many rows there are."""
        return self.call.query.shape[2]

    @property
    def n_heads(self) -> int:
        """How many heads attend."""
        return self.call.query.shape[1]

    @kept
    def block(self) -> Block:
        """Its parameters."""
        return resolve_block(self.model, self.place, self.n_heads)

    @kept
    def value(self) -> Tensor:
        """(1, head, key, d_head), with heads that share them repeated."""
        return at_least_float32(of_every_head(self.call.value, self.n_heads))

    @kept
    def grams(self) -> Grams:
        """What blocks of rows share."""
        return Grams(self.value[0])

    def rows(self, rows: slice, *, alone: bool = False) -> tuple[LayerTrace, slice]:
        """The trace of some neighbouring rows without a batch axis, and the keys that it is over.

        Args:
            rows: From one position to another.
            alone: From scratch, to check the others by: weights over all keys, in float64 as far as the model's own
                eager attention goes, and nothing that blocks of rows share.
        """
        keys = slice(0, self.length) if alone else self.call.seen(rows)
        weights = self.call.double().eager_weights(rows, keys) if alone else self.call.weights(rows, keys)
        value = self.value[:, :, keys]
        said = {name: one[:, rows] for name, one in self.said.items()}
        more = taken_additions(said, self.place)
        tensors: dict[str, Any] = {own: at_least_float32(said[name]) for name, own in STATES.items()}
        tensors |= {"attention": weights.to(value.dtype), "value": value}
        if self.heads is not None:
            heads, read = self.heads[:, rows], said["heads_read"]
            more |= recorded_gate(self.model, self.place, tensors, heads, read, tolerance(self.ran_in))
        more |= {"first": rows.start - keys.start, "grams": None if alone else self.grams.seeing(keys)}
        layer = LayerTrace(index=self.number, block=self.block, tolerance=tolerance(self.ran_in), **tensors, **more)
        return layer[0], keys


class TileRecorder(BlockRecorder):
    """Of blocks with one attention of the registry; a `listeners.TileListener`."""

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy) -> None:
        super().__init__(model, anatomy, lambda: None)
        self.blocks: list[KeptBlock] = []
        self.calls: list[Attending] = []

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What enters a block is kept, and nothing to run it again with."""
        if listening(self):
            Recorder.enter(self, module, args, kwargs)
            self.note_added(args, kwargs)
            self.replays.clear()

    def attending(self, call: Attending, output: Tensor) -> None:
        """See `TileListener`; refuses what is not the one attention of a block over its own tokens."""
        self.refuse_call(type(call.module).__name__)
        place, count = self.places[self.number], self.said["entered"].shape[1]
        shapes = {call.query.shape[2], call.key.shape[2], count}
        if self.calls or len(shapes) > 1 or obstacle(place):
            raise UnsupportedModel(
                f"Block {self.number} attends in more than one call, or over other tokens than its own, so its maps "
                "cannot be made some rows at a time."
            )
        self.calls.append(replace(call, key=by_itself(call.key), value=by_itself(call.value)))
        self.attended.append(Attended(call.query, call.value, None, output if place.outlet is not None else None))

    def steps(self, place: BlockAnatomy, ran_in: torch.dtype) -> tuple[()]:
        """No step yet: maps are made, and proved, afterwards."""
        (call,), self.calls = self.calls, []
        (heard,) = self.attended
        self.blocks.append(KeptBlock(self.model, self.number, place, dict(self.said), call, heard.output, ran_in))
        return ()
