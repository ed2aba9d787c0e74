"""Run a decoder on what its encoder gave, and hand out both proved steps of every decoder block while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TapSilent, TraceDoesNotAddUp, UnsupportedModel
from contextmix.maths.precision import at_least_float32
from contextmix.maths.projections import Affine
from contextmix.maths.shapes import Bound
from contextmix.traces.block import Block
from contextmix.traces.checks import Checks
from contextmix.traces.encoder_decoder import DecoderBlockAnatomy
from contextmix.traces.mixing import Mixing
from contextmix.traces.trace import LayerTrace, Scores
from contextmix.tracing.recording.quiet import over
from contextmix.tracing.recording.recorder import Attended, Recorder
from contextmix.tracing.recording.replay import BlockReplay
from contextmix.tracing.recording.resolve import affine, part, resolve_block
from contextmix.tracing.recording.turns import after, before
from contextmix.tracing.recording.verify import tolerance

Visitor = Callable[[LayerTrace, LayerTrace], None]

_STATES = ("own_out", "between", "cross_out", "ffn_out", "left")


def record_decoder(
    model: PreTrainedModel, anatomy: tuple[DecoderBlockAnatomy, ...], inputs: Mapping[str, Any], visit: Visitor
) -> tuple[Any, Checks]:
    """Run the decoder on one sequence and show both steps of every block to a visitor.

    Args:
        model: The model.
        anatomy: Its decoder blocks.
        inputs: ``encoder_outputs`` and ``decoder_input_ids``, with a batch axis of one.
        visit: Called once per block, in order, with the self-attention and the cross-attention of the sequence.

    Returns:
        The model's outputs, and how well the trace proved itself.

    Raises:
        TraceDoesNotAddUp: If the parts of a step do not rebuild what the model computed.
        TapSilent: If a block did not make its two attention calls.
        NotFinite: If an activation is NaN or infinite.
    """
    return _DecoderRecorder(model, anatomy, visit).run(inputs)


class _DecoderRecorder(Recorder[DecoderBlockAnatomy]):
    """Of blocks with self-attention and cross-attention."""

    def listen(self, block: nn.Module, place: DecoderBlockAnatomy) -> Iterator[Any]:
        """Both output projections, the feed-forward output and the stream between the steps."""
        yield after(part(block, place.own.attention.output), self.note("own_out"))
        between = part(block, place.between.path)
        if place.between.written:
            yield after(between, self.note("between"))
        else:
            yield before(between, self.note_read("between"))
        yield after(part(block, place.cross.attention.output), self.note("cross_out"))
        yield after(part(block, place.cross.ffn.output), self.note("ffn_out"))

    def routed(self, module: nn.Module, call: Any) -> None:
        """See `RoutedListener`: no known decoder that attends to an encoder has such a mixer."""
        raise UnsupportedModel(
            f"{type(module).__name__} mixes tokens without attention in a decoder that also attends to an encoder, and "
            "its two steps are known with attention alone. No number was produced. Load a half: model.get_encoder()."
        )

    def mixers(self, place: DecoderBlockAnatomy) -> Iterator[Mixing | None]:
        """Of both attentions."""
        yield from (place.own.mixer, place.cross.mixer)

    def shaped(self, states: Tensor) -> Tensor:
        """Experts hold the tokens of a batch in one row."""
        return over(states, self.said["entered"].shape[:-1])

    def steps(self, place: DecoderBlockAnatomy, ran_in: torch.dtype) -> tuple[LayerTrace, LayerTrace]:
        """Self-attention, then cross-attention."""
        said = {name: at_least_float32(tensor.detach())[0] for name, tensor in self.said.items()}
        own, cross = map(_one, self.attended)
        second = self._step(
            cross,
            residual_in=said["between"],
            attention_out=said["cross_out"],
            ffn_out=said["ffn_out"],
            residual_out=said["left"],
            block=_with_query(self.model, resolve_block(self.model, place.cross, len(cross.attention)), place),
            replay_zeroed=self._zeroed(1),
            tolerance=tolerance(ran_in),
            cross=True,
        )
        first = self._step(
            own,
            residual_in=said["entered"],
            attention_out=said["own_out"],
            ffn_out=torch.zeros_like(said["between"]),
            residual_out=said["between"],
            block=resolve_block(self.model, place.own, len(own.attention)),
            replay_zeroed=self._zeroed(0),
            tolerance=tolerance(ran_in),
            following=second,
        )
        return first, second

    def _step(self, call: Attended, **said: Any) -> LayerTrace:
        return LayerTrace(index=self.number, attention=call.attention, value=call.value, scores=call.scores, **said)

    def _zeroed(self, call: int) -> Bound[Tensor]:
        return Bound(_zeroed, self.replays[-1], self.said["entered"], call)

    def refuse_call(self, name: str) -> None:
        """Attention between or around the blocks, or a third one inside."""
        if not self.inside or len(self.attended) == 2:
            raise TraceDoesNotAddUp(
                f"{name} attends outside of the blocks that the anatomy names, or a third time in one of them, so what "
                "it mixes would be lost."
            )

    def refuse_other_anatomy(self) -> None:
        """Too few blocks are named, or modules that do not run or are no sub-layer."""
        if self.number == len(self.places) or len(self.attended) < 2:
            raise TapSilent(self.silent())
        wrong = self.strays(_STATES)
        if wrong or self.attended[0].attention.shape[-1] != self.said["entered"].shape[-2]:
            found = f"left no {', no '.join(wrong)} of its shape" if wrong else "does not begin with self-attention"
            raise TraceDoesNotAddUp(
                f"Decoder block {self.number} of {len(self.places)} {found}. The anatomy does not describe this model."
            )

    def silent(self) -> str:
        """See `Recorder`."""
        return (
            f"Decoder block {self.number} of {len(self.places)} did not make its two attention calls through the "
            "registry of transformers, self-attention and cross-attention, so an attribution would skip what it mixes. "
            "No number was produced."
        )


def _one(call: Attended) -> Attended:
    """The one sequence of the batch."""
    weights, values = (at_least_float32(tensor.detach())[0] for tensor in (call.attention, call.value))
    if call.scores is None:
        return Attended(weights, values, None)
    scores = Scores(call.scores.query.detach()[0], call.scores.key.detach()[0], call.scores.scaling)
    return Attended(weights, values, scores)


def _zeroed(replay: BlockReplay, states: Tensor, call: int, token: int | None, heads: tuple[int, ...] | None) -> Tensor:
    """See `LayerTrace.replay_zeroed`; of self-attention (call 0) or cross-attention (call 1)."""
    return replay.zeroed(states, token, heads, call)[0]


def _with_query(model: PreTrainedModel, block: Block, place: DecoderBlockAnatomy) -> Block:
    if place.query is None:
        return block
    weight, bias = affine(part(model, place.path), place.query.path, place.query.transposed)
    factor = place.query.factor
    return replace(block, query=Affine(weight * factor, None if bias is None else bias * factor))
