"""Find the anatomy of an encoder–decoder: the encoder by itself, then the decoder on what the encoder gave.

A decoder block holds two attention calls. It is read as two steps (`encoderdecoder`): where the first one ends, h, is
found among the tensors that modules read or wrote, and the one from which the second step rebuilds the block's output
is the right one. Source and target of the probe have different lengths, so neither can be taken for the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import NotFinite, UnsupportedModel
from contextmix.maths.precision import at_least_float32
from contextmix.traces.anatomy import BlockAnatomy, Sublayer
from contextmix.traces.block import BlockStates
from contextmix.traces.encoder_decoder import (
    NO_FEED_FORWARD,
    DecoderBlockAnatomy,
    EncoderDecoderAnatomy,
    QueryPlace,
    StreamPlace,
)
from contextmix.tracing.discovery.blocks import discover, refuse_gaps
from contextmix.tracing.discovery.claims import NotABlock
from contextmix.tracing.discovery.diary import Attended, Call, Diary, keep_diary
from contextmix.tracing.discovery.flat import telling
from contextmix.tracing.discovery.locality import Suspect, refuse_hidden_mixing
from contextmix.tracing.discovery.mixers import heard_diary, placed
from contextmix.tracing.discovery.reader import BlockReader
from contextmix.tracing.recording.quiet import first_states, quiet_run
from contextmix.tracing.recording.resolve import linear_form, recognise_norm, resolve_block
from contextmix.tracing.recording.upcast import in_float32
from contextmix.tracing.recording.verify import close, relative_error, tolerance


def discover_encoder_decoder(
    model: PreTrainedModel, source: Mapping[str, Tensor], target: Tensor
) -> EncoderDecoderAnatomy:
    """The anatomy of both stacks, found on one short source and target and proved on them.

    Args:
        model: An encoder–decoder.
        source: What its encoder reads, one sequence.
        target: Decoder input ids (1, n), n ≥ 2; one is left out if there are as many as encoder states.

    Raises:
        UnsupportedModel: If a block does not fit, or something mixes tokens between the blocks or after the encoder.
        NotFinite: If an activation is NaN or infinite.
    """
    encoder = model.get_encoder()
    if not isinstance(encoder, PreTrainedModel):
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}): its encoder ({type(encoder).__name__}) is no model "
            "of transformers that runs by itself, so the two stacks cannot be told apart. No number was produced."
        )
    blocks = discover(encoder, source).blocks
    with in_float32(encoder):
        diary, source = telling(encoder, source, keep_diary(encoder, source))
    _refuse_mixing_after(encoder, diary, source, blocks[-1].path)
    diary = _decoder_diary(model, source, target)
    if len(diary.attended) < 2 or len(diary.attended) % 2:
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}): its decoder made {len(diary.attended)} attention "
            "calls through the registry of transformers; two per block, self-attention and cross-attention, can be "
            "read. No number was produced."
        )
    found = [_block(model, diary, number) for number in range(0, len(diary.attended), 2)]
    refuse_gaps(model, diary, [call for call, _ in found])
    suspects = [
        Suspect.of(diary, call, moment, place.own.attention.output, place.cross.attention.output)
        for (call, place), moment in zip(found, diary.attended[::2], strict=True)
    ]
    with in_float32(model):
        refuse_hidden_mixing(model, suspects)
    return EncoderDecoderAnatomy(blocks, tuple(place for _, place in found))


def _decoder_diary(model: PreTrainedModel, source: Mapping[str, Tensor], target: Tensor) -> Diary:
    """What the decoder does with the outputs of the encoder and a target of another length; in float32 at least."""
    try:
        with in_float32(model):
            outputs = quiet_run(model.get_encoder(), source)
            states = first_states(outputs)
            assert states is not None  # an encoder gives hidden states
            ids = target[:, 1:] if states.shape[1] == target.shape[1] else target
            inputs = {"encoder_outputs": outputs, "decoder_input_ids": ids}
            return telling(model, inputs, heard_diary(model, inputs), decoder=True)[0]
    except (RuntimeError, TypeError, ValueError) as reason:
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}): its decoder does not run on the encoder's outputs "
            f"and one sequence of token ids alone ({reason}), so it cannot be traced. No number was produced."
        ) from reason


def _refuse_mixing_after(encoder: PreTrainedModel, diary: Diary, source: Mapping[str, Tensor], last: str) -> None:
    """What the decoder attends to must be the last block's output, token by token."""
    with in_float32(encoder):
        states = first_states(quiet_run(encoder, source))
    wrote = max((call for call in diary.calls if call.path == last), key=lambda call: call.ended).wrote
    assert states is not None  # an encoder gives hidden states
    wrote = wrote[:, : states.shape[1]]  # without what a model adds at the end to fill its last window (LED)
    allowed = tolerance(states.dtype)
    ran = 10 * allowed  # in two runs, which may differ as in `parity`: a trained Whisper's do by more than one call
    after = [call for call in diary.calls if close(call.read, wrote, allowed) and close(call.wrote, states, ran)]
    if not close(wrote, states, ran) and not any(_is_per_token(call, allowed) for call in after):
        raise UnsupportedModel(
            f"{encoder.config.model_type!r}: between the last block of the encoder and what it hands to the decoder "
            "lies more than a norm or a linear map. It may mix tokens, and a joint attribution would miss it. No "
            "number was produced. Trace the encoder alone: model.get_encoder()."
        )


def _is_per_token(call: Call, allowed: float) -> bool:
    norm = recognise_norm(call.path, call.module, call.read, call.wrote, allowed)
    return norm is not None or linear_form(call.module, call.read, call.wrote, allowed) is not None


def _block(model: PreTrainedModel, diary: Diary, number: int) -> tuple[Call, DecoderBlockAnatomy]:
    own, cross = diary.attended[number : number + 2]
    reasons, calls = [], list(_around(diary, own, cross))
    for call in calls:
        try:
            return call, _DecoderReader(diary, call, own, cross).decoder_block(model)
        except NotABlock as reason:
            reasons.append(f"{call.path or 'the model'} ({type(call.module).__name__}): {reason}")
    if not all(call.wrote.isfinite().all() for call in calls):
        raise NotFinite(
            f"The decoder block of attention calls {number} and {number + 1} gave NaN or infinity on a short probe, so "
            "every number that follows would be wrong. Check the weights; in float16, large activations overflow: "
            "load in float32 or bfloat16."
        )
    listed = "; ".join(reasons) or "no module around both maps hidden states to hidden states"
    raise UnsupportedModel(
        f"{model.config.model_type!r}: the decoder block of attention calls {number} and {number + 1} "
        f"({type(own.module).__name__}, {type(cross.module).__name__}) cannot be read: {listed}. A decomposition of it "
        "would not add up, so no number was produced."
    )


def _around(diary: Diary, *moments: Attended) -> Iterator[Call]:
    """The calls that hold these attention calls and no other, and keep the shape of the states; largest first."""
    for call in sorted(diary.calls, key=lambda call: call.began):
        held = [other for other in diary.attended if call.began < other.time < call.ended]
        if held == list(moments) and call.read.shape == call.wrote.shape:
            yield call


class _DecoderReader(BlockReader):
    """Reads one decoder block from a diary."""

    def __init__(self, diary: Diary, block: Call, own: Attended, cross: Attended) -> None:
        super().__init__(diary, block, own)
        self.diary, self.second = diary, cross

    def decoder_block(self, model: PreTrainedModel) -> DecoderBlockAnatomy:
        """The anatomy of both steps, each proved on the tensors of this call."""
        if self.second.value.shape[1] == self.second.output.shape[1]:
            raise NotABlock("its second attention call reads as many keys as queries, so it is no cross-attention")
        projection, output = self._projection()
        reasons = []
        for sublayer, stream, between in self._ends(projection):
            own = BlockAnatomy(self.outer.path, sublayer, NO_FEED_FORWARD, transposed=output.transposed)
            reader = BlockReader(self.diary, replace(self.outer, read=stream), self.second)
            try:
                cross = reader.block(model)
                if cross.parallel:
                    raise NotABlock("cross-attention and the feed-forward part run in parallel")
                if cross.outlet is not None:
                    raise NotABlock(f"cross-attention has its {cross.outlet.told}, which is read in one stack alone")
                self._prove(model, own, projection, stream)
                own, cross = (
                    replace(place, mixer=placed(moment.module, self.outer.module))
                    for place, moment in ((own, self.moment), (cross, self.second))
                )
                return DecoderBlockAnatomy(own, cross, between, self._query(reader, stream))
            except NotABlock as reason:
                reasons.append(str(reason))
        raise NotABlock("; ".join(dict.fromkeys(reasons)) or "no module reads the sum of its input and self-attention")

    def _ends(self, projection: Call) -> Iterator[tuple[Sublayer, Tensor, StreamPlace]]:
        """Every reading of where self-attention ends: the sub-layer, the stream that it leaves, and where to see it."""
        norm_in = self._norm_reading(self.entered, before=self.moment.time)
        norm_out = self._norm_reading(projection.wrote, after=projection.began)
        raw = projection.wrote if norm_out is None else norm_out.wrote
        for call in self.calls:
            scale = self._scale(call.read, self.entered, raw) if self._follows(call, projection) else None
            if scale is None:
                continue
            places = self._place(norm_in), self._place(norm_out)
            sublayer = Sublayer(self._path(projection), (), *places, scale=scale)
            yield sublayer, call.read, StreamPlace(self._path(call), written=False)
            if call in self.norms:
                after = replace(sublayer, norm_after=self._place(call))
                yield after, call.wrote, StreamPlace(self._path(call), written=True)

    def _prove(self, model: PreTrainedModel, own: BlockAnatomy, projection: Call, stream: Tensor) -> None:
        entered, wrote, left = (at_least_float32(tensor) for tensor in (self.entered, projection.wrote, stream))
        block = resolve_block(model, own, self.moment.n_heads)
        error = relative_error(BlockStates(block, entered, wrote, torch.zeros_like(left)).residual_out, left)
        if not error <= self.allowed:
            raise NotABlock(f"its self-attention rebuilds what follows only within {error:.1e} (relative)")

    def _query(self, cross: Any, stream: Tensor) -> QueryPlace | None:
        """The linear module whose output, times a number, is what cross-attention asks with."""
        asked = self.second.query
        if asked is None:
            return None
        norm = cross._norm_reading(stream, before=self.second.time)
        for call in self._reading(stream if norm is None else norm.wrote):
            transposed = linear_form(call.module, call.read, call.wrote, self.allowed)
            same_shape = call.wrote.shape == asked.shape
            if transposed is None or not same_shape:
                continue
            factor = float((call.wrote * asked).sum() / call.wrote.square().sum())
            if self._same(call.wrote * factor, asked):
                return QueryPlace(self._path(call), transposed, factor)
        return None
