"""Run a model of one stack and hand out one proved `LayerTrace` per block while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TapSilent, TraceDoesNotAddUp
from contextmix.maths.precision import at_least_float32
from contextmix.maths.shapes import Bound
from contextmix.traces.anatomy import Anatomy, BlockAnatomy, Mixer
from contextmix.traces.trace import Checks, LayerTrace, Scores
from contextmix.tracing.recording.listeners import listening
from contextmix.tracing.recording.quiet import over, turned
from contextmix.tracing.recording.recorder import Attended, Recorder, of_every_head
from contextmix.tracing.recording.replay import ChainReplay
from contextmix.tracing.recording.resolve import part, resolve_block
from contextmix.tracing.recording.row_attention import by_itself
from contextmix.tracing.recording.stack import Between, Tower, image_places
from contextmix.tracing.recording.turns import after
from contextmix.tracing.recording.verify import tolerance
from contextmix.tracing.recording.windows import are_windows, over_all

Visitor = Callable[[LayerTrace], None]
Heard = tuple[Tensor, Tensor]
"""Weights (head, row, key), and values (key-value head, key, d_head), in the model's precision."""
RowVisitor = Callable[[LayerTrace, Heard], None]

_STATES = {"entered": "residual_in", "attention_out": "attention_out", "ffn_out": "ffn_out", "left": "residual_out"}
"""What a block says → what a `LayerTrace` calls it."""


def record(
    model: PreTrainedModel,
    anatomy: Anatomy,
    inputs: Mapping[str, Tensor],
    visit: Visitor,
    *,
    last_logits: int = 0,
    apart: bool = False,
) -> tuple[Any, Checks]:
    """Run a batch of equal-length sequences and show every block to a visitor.

    Args:
        model: The model.
        anatomy: Where its parts are.
        inputs: Model inputs with a batch axis, without padding.
        visit: Called once per block, in order, with tensors (batch, …); what it does not keep is freed.
        last_logits: See `quiet_run`.
        apart: Whether the layers are looked at one by one, so that features of an image may be added between them.

    Returns:
        The model's outputs, and how well the trace proved itself.

    Raises:
        UnsupportedModel: If something acts between the blocks; see `Between`.
        TraceDoesNotAddUp: If the parts of a block do not rebuild what the model computed.
        TapSilent: If a block made no attention call that could be heard.
        NotFinite: If an activation is NaN or infinite.
    """
    recorder = _BlockRecorder(model, anatomy.blocks, visit)
    recorder.apart = apart
    return recorder.run(inputs, last_logits=last_logits)


def layers_of(model: PreTrainedModel, anatomy: Anatomy, inputs: Mapping[str, Tensor]) -> list[LayerTrace]:
    """Every block of one sequence, without a batch axis; see `record`."""
    found: list[LayerTrace] = []
    record(model, anatomy, inputs, lambda layer: found.append(layer[0]))
    return found


def record_rows(
    model: PreTrainedModel,
    anatomy: Anatomy,
    inputs: Mapping[str, Tensor],
    rows: slice,
    visit: RowVisitor,
    *,
    last_logits: int = 0,
) -> tuple[Any, Checks]:
    """Run one sequence with the attention that the model has set, and show a visitor some rows of every block.

    A fused attention makes no map, and neither does this: the model's own eager attention is asked for these rows
    alone. They are proved like whole maps, against what the model made of the fused attention's output.

    Args:
        model: The model.
        anatomy: Where its parts are.
        inputs: Model inputs with a batch axis of one, without padding.
        rows: Neighbouring positions.
        visit: Called once per block, in order: with the trace of these rows, without a batch axis, and with the
            weights and values as attention read them. Nothing else there is of the size of the sequence.
        last_logits: See `quiet_run`.

    Returns:
        The model's outputs, and how well the trace proved itself; raises as `record` does.
    """
    return _RowRecorder(model, anatomy.blocks, rows, visit).run(inputs, last_logits=last_logits)


class _BlockRecorder(Recorder[BlockAnatomy]):
    """Of blocks with one attention."""

    embeddings: Tensor | None = None
    tower: Tower | None = None
    between: Between
    apart = False

    def run(self, inputs: Mapping[str, Any], *, last_logits: int = 0) -> tuple[Any, Checks]:
        """See `Recorder`; images of a prompt may have a tower of their own."""
        self.tower = Tower.of(self.model, self.places[0].path, inputs)
        rows: slice | None = getattr(self, "rows", None)  # a listener that has the attribute is a RowListener
        free = image_places(self.model, inputs) if self.apart or rows is not None else None
        self.between = Between(self.model.config.model_type, free, rows)
        outputs, checks = super().run(inputs, last_logits=last_logits)
        return outputs, replace(checks, added=tuple(self.between.changed))

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `Listener`."""
        began = self.inside or self.number > 0
        if began or self.tower is None or not self.tower.holds(module):
            super().heard(module, attention, value, output, scores)

    def listen(self, block: nn.Module, place: BlockAnatomy) -> Iterator[Any]:
        """Output projection and feed-forward output."""
        yield after(part(block, place.attention.output), self.note("attention_out"))
        yield after(part(block, place.ffn.output), self.note("ffn_out"))

    def mixers(self, place: BlockAnatomy) -> Iterator[Mixer | None]:
        """Of its one attention."""
        yield place.mixer

    def shaped(self, states: Tensor) -> Tensor:
        """Experts and routers hold the tokens of a batch in one row; some models have the tokens in front."""
        return turned(states) if self.turned else over(states, self.said["entered"].shape[:-1])

    @property
    def turned(self) -> bool:
        """See `BlockAnatomy`."""
        return self.number < len(self.places) and self.places[self.number].turned

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What enters the first block are the embeddings, and what enters another one is what the last one wrote."""
        super().enter(module, args, kwargs)
        if listening(self):
            self.between.refuse_change(self.places, self.number, args, kwargs)
        if listening(self) and self.embeddings is None:
            self.embeddings = at_least_float32(self.said["entered"].detach())

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """See `Recorder`; what was written is compared with what the next block reads."""
        super().leave(module, args, output)
        if listening(self):
            self.between.wrote(output)

    def steps(self, place: BlockAnatomy, ran_in: torch.dtype) -> tuple[LayerTrace]:
        """The block is one step."""
        attention, value, scores = self.weighed_in_all()
        replay = replace(self.replays[-1], windows=self.in_windows)
        said = {_STATES[name]: tensor for name, tensor in self.said.items()} | {"attention": attention, "value": value}
        tensors: dict[str, Any] = {name: at_least_float32(tensor.detach()) for name, tensor in said.items()}
        layer = LayerTrace(
            index=self.number,
            block=resolve_block(self.model, place, attention.shape[1]),
            scores=scores,
            replay=replay,
            replay_zeroed=Bound(replay.zeroed, tensors["residual_in"]),
            embeddings=self.embeddings,
            replay_from_embeddings=None if self.between.changed else ChainReplay(tuple(self.replays)),
            tolerance=tolerance(ran_in),
            **tensors,
        )
        return (layer,)

    @property
    def in_windows(self) -> bool:
        """Whether the attention calls of the block share out its tokens."""
        return are_windows([one.attention.shape for one in self.attended], self.said["entered"].shape[1])

    def weighed_in_all(self) -> Attended:
        """The attention of the block; that of windows is put together."""
        if not self.in_windows:
            return self.attended[-1]
        values = torch.cat([one.value for one in self.attended], 2)
        return Attended(over_all([one.attention for one in self.attended]), values, None)

    def refuse_call(self, name: str) -> None:
        """Attention between or around the blocks."""
        if not self.inside:
            raise TraceDoesNotAddUp(
                f"{name} attends outside of the blocks that the anatomy names, so what it mixes would be lost."
            )

    def refuse_other_anatomy(self) -> None:
        """Too few blocks are named, or modules that do not run or are no sub-layer."""
        if not self.attended:
            raise TapSilent(self.silent())
        wrong = [_STATES[name] for name in self.strays(_STATES)]
        if wrong or self.number == len(self.places):
            found = f"left no {', no '.join(wrong)} of its shape" if wrong else "ran, and the anatomy names no more"
            raise TraceDoesNotAddUp(
                f"Block {self.number} of {len(self.places)} {found}. The anatomy does not describe this model."
            )

    def silent(self) -> str:
        """See `Recorder`."""
        return (
            f"Block {self.number} of {len(self.places)} made no attention call through the registry of transformers, "
            "so what it mixes was not recorded and an attribution would skip a layer. No number was produced."
        )


class _RowRecorder(_BlockRecorder):
    """Of some rows of blocks with one attention; a `tap.RowListener`.

    A run without a trace needs most memory in its feed-forward parts. So nothing of the size of the sequence may lie
    about while these run but what is kept for good: weights of these rows, and values as the model made them.

    Args:
        rows: Neighbouring positions.
        visit: See `record_rows`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        places: Sequence[BlockAnatomy],
        rows: slice,
        visit: RowVisitor,
    ) -> None:
        super().__init__(model, places, visit)
        self.rows, self.tokens = rows, torch.Size()
        self.weighed: Heard | None = None

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Of what enters a block these rows are kept, and nothing to run it again with."""
        if listening(self):
            Recorder.enter(self, module, args, kwargs)
            self.between.refuse_change(self.places, self.number, args, kwargs)
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

    def steps(self, place: BlockAnatomy, ran_in: torch.dtype) -> tuple[LayerTrace]:
        """The block is one step."""
        attention, value, _ = self.attended[-1]
        self.weighed = attention.detach()[0], value.detach()[0]
        said = {_STATES[name]: tensor for name, tensor in self.said.items()}
        said |= {"attention": attention, "value": of_every_head(value, attention.shape[1])}
        tensors: dict[str, Any] = {name: at_least_float32(tensor.detach()) for name, tensor in said.items()}
        block = resolve_block(self.model, place, attention.shape[1])
        return (LayerTrace(index=self.number, block=block, tolerance=tolerance(ran_in), **tensors),)

    def show(self, *steps: LayerTrace) -> None:
        """What is kept of the block, without a batch axis."""
        assert self.weighed is not None  # of the step that is shown
        self.visit(steps[0][0], self.weighed)
        self.weighed = None
