"""Find the anatomy of a model's blocks by looking at one run: which module read and wrote which tensor.

1. The *block* of an attention call is the largest module call that holds just this one and maps hidden states to hidden
   states (smaller ones are tried when the equation below does not come out).
2. The *output projection* is the linear module that reads the attention output.
3. Norms are recognised by what they compute, not by their names: a module whose output is the LayerNorm or RMSNorm of
   its input under its own weight.
4. Sums are matched by their tensors: x + s·a for a number or a vector s, and the same for the feed-forward part.

What is found is then put into the block equation and must reproduce the block's output; otherwise it is no anatomy.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.anatomy import (
    Anatomy,
    BlockAnatomy,
    BlockStates,
    LinearPlace,
    Matrices,
    NormPlace,
    ProjectionPlaces,
    Sublayer,
)
from contextmix.errors import NotFinite, UnsupportedModel
from contextmix.tracing.diary import Attended, Call, Diary, keep_diary
from contextmix.tracing.linear import gated_places, linear_place
from contextmix.tracing.resolve import at_least_float32, linear_form, recognise_norm, resolve_block
from contextmix.tracing.upcast import in_float32
from contextmix.tracing.verify import relative_error, tolerance


class NotABlock(Exception):
    """Why a module call is not a block of the block equation (never leaves this file)."""


def discover(model: PreTrainedModel, probe: Mapping[str, Tensor]) -> Anatomy:
    """The anatomy of a model, found on one short input and proved on it.

    Args:
        model: Any Hugging Face model whose attention goes through the registry.
        probe: Model inputs, one short sequence.

    Returns:
        The anatomy, one entry per block in running order.

    Raises:
        UnsupportedModel: If attention bypasses the registry, a block does not fit the block equation, or something
            mixes tokens between the blocks; says which.
        NotFinite: If an activation is NaN or infinite.
    """
    if has_two_stacks(model):
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}) is an encoder with a decoder, whose blocks attend "
            "to two sequences, and one map per block cannot say that. No number was produced. contextmix.load reads "
            "both; or load one half: model.get_encoder()."
        )
    with in_float32(model):
        diary = keep_diary(model, probe)
    if not diary.attended:
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}) ran without one attention call through the "
            "registry of transformers, so what its heads mix cannot be recorded. No number was produced."
        )
    try:
        found = [_block(model, diary, number) for number in range(len(diary.attended))]
        _refuse_gaps(model, diary, [call for call, _ in found])
    except UnsupportedModel:
        _refuse_non_finite(keep_diary(model, probe).attended)  # in the model's own precision
        raise
    return Anatomy(tuple(place for _, place in found))


def _refuse_non_finite(attended: Sequence[Attended]) -> None:
    for number, moment in enumerate(attended):
        if not moment.output.isfinite().all():
            raise NotFinite(
                f"Attention call {number} ({type(moment.module).__name__}) gave NaN or infinity on a short probe, so "
                "every number that follows would be wrong. Check the weights; in float16, large activations overflow: "
                "load in float32 or bfloat16."
            )


def has_two_stacks(model: PreTrainedModel) -> bool:
    """Whether a model is an encoder with a decoder that attends to it."""
    two = bool(getattr(model.config, "is_encoder_decoder", False))
    return two and "decoder_input_ids" in inspect.signature(model.forward).parameters


def _refuse_gaps(model: PreTrainedModel, diary: Diary, blocks: Sequence[Call]) -> None:
    """Layers that mix tokens without attention (convolutions, state spaces) would be skipped by every attribution."""
    paths = {block.path for block in blocks}
    above = {path.rsplit(".", depth)[0] for path in paths for depth in range(1, path.count(".") + 1)}
    stacks = {path for path in above if isinstance(model.get_submodule(path), nn.ModuleList | nn.Sequential)}
    silent = [call for call in diary.calls if call.path.rpartition(".")[0] in stacks and call.path not in paths | above]
    if silent:
        names = ", ".join(dict.fromkeys(f"{call.path} ({type(call.module).__name__})" for call in silent))
        raise UnsupportedModel(
            f"{model.config.model_type!r}: layers beside the attention blocks made no attention call: {names}. They "
            "may mix tokens in another way, and an attribution across layers would skip them. No number was produced."
        )
    for before, after in pairwise(blocks):
        if not _close(after.read, before.wrote, tolerance(after.read.dtype)):
            raise UnsupportedModel(
                f"{model.config.model_type!r}: what {after.path} reads is not what {before.path} wrote, so something "
                "acts between these blocks and an attribution across layers would miss it. No number was produced."
            )


def _block(model: PreTrainedModel, diary: Diary, number: int) -> tuple[Call, BlockAnatomy]:
    moment, reasons = diary.attended[number], []
    for call in diary.around(moment):
        try:
            return call, _Reader(diary, call, moment).block(model)
        except NotABlock as reason:
            reasons.append(f"{call.path or 'the model'} ({type(call.module).__name__}): {reason}")
    listed = "; ".join(reasons) or "no module around it maps hidden states to hidden states"
    raise UnsupportedModel(
        f"{model.config.model_type!r}: the block of attention call {number} ({type(moment.module).__name__}) cannot "
        f"be read: {listed}. A decomposition of it would not add up, so no number was produced. For an odd model, "
        "pass a hand-written anatomy=… to contextmix.load."
    )


class _Reader:
    """Reads one block from a diary; every question is answered by comparing tensors."""

    def __init__(self, diary: Diary, block: Call, moment: Attended) -> None:
        self.outer, self.moment = block, moment
        self.calls = diary.inside(block)
        self.entered, self.left = block.read, block.wrote
        self.allowed = max(tolerance(block.wrote.dtype), tolerance(torch.float32))  # norms may compute in float32
        self.norms = {call: place for call in self.calls if (place := self._norm_place(call))}

    def block(self, model: PreTrainedModel) -> BlockAnatomy:
        """The anatomy of this call, proved on its own tensors."""
        projection, transposed = self._projection()
        attention, raw, mid = self._attention(projection)
        ffn, contribution, parallel = self._ffn(raw, mid, attention)
        projections, value = self._projections(), self._value()
        place = BlockAnatomy(self.outer.path, attention, ffn, parallel, transposed, projections, value)
        states = (at_least_float32(tensor) for tensor in (self.entered, projection.wrote, contribution))
        rebuilt = BlockStates(resolve_block(model, place, self.moment.n_heads), *states).residual_out
        error = relative_error(rebuilt, at_least_float32(self.left))
        if not error <= self.allowed:
            raise NotABlock(
                f"its parts rebuild its output only within {error:.1e} (relative; allowed {self.allowed:.0e})"
            )
        return place

    def _projection(self) -> tuple[Call, bool]:
        for call in self._reading(self.moment.output):
            transposed = linear_form(call.module, call.read, call.wrote, self.allowed)
            if transposed is not None:
                return call, transposed
        raise NotABlock(
            "no linear module reads the heads' output directly (a gate or norm lies between, or it is split)"
        )

    def _projections(self) -> ProjectionPlaces | None:
        """The linear modules that write the queries, keys and values from what enters the block, normed or not."""
        norm_in = self._norm_reading(self.entered, before=self.moment.time)
        reading = self._reading(self.entered if norm_in is None else norm_in.wrote)
        forms = {call: linear_form(call.module, call.read, call.wrote, self.allowed) for call in reading}
        linear = [call for call, form in forms.items() if form is not None]
        wanted = (self.moment.query, self.moment.key, self.moment.value)
        query, key, value = (next((c for c in linear if self._same(c.wrote, tensor)), None) for tensor in wanted)
        if query is None or key is None or value is None or len({forms[call] for call in (query, key, value)}) > 1:
            return None
        return ProjectionPlaces(self._path(query), self._path(key), self._path(value), bool(forms[query]))

    def _value(self) -> LinearPlace | None:
        """The linear map that writes the values, from what enters the block, normed or not."""
        norm_in = self._norm_reading(self.entered, before=self.moment.time)
        reading = self._reading(self.entered if norm_in is None else norm_in.wrote)
        return linear_place(reading, self.moment.value, self._path, self.allowed)

    def _attention(self, projection: Call) -> tuple[Sublayer, Tensor, Tensor | None]:
        """The attention sub-layer, what it adds (unscaled), and h where the run shows it."""
        norm_in = self._norm_reading(self.entered, before=self.moment.time)
        norm_out = self._norm_reading(projection.wrote, after=projection.began)
        raw = projection.wrote if norm_out is None else norm_out.wrote
        places = self._place(norm_in), self._place(norm_out)
        for call in self.calls:
            scale = self._scale(call.read, self.entered, raw) if self._follows(call, projection) else None
            if scale is None:
                continue
            after = call if call in self.norms and self._is_norm_after(call) else None
            mid = call.read if after is None else after.wrote
            sublayer = Sublayer(self._path(projection), (), *places, norm_after=self._place(after), scale=scale)
            return sublayer, raw * scale, mid
        return Sublayer(self._path(projection), (), *places), raw, None

    def _is_norm_after(self, norm: Call) -> bool:
        """Whether a norm that reads x + a normalises the stream itself (post-norm), not just what the ffn reads.

        In a pre-norm block the stream goes on *around* the norm: the output minus the norm's input is what the ffn
        adds.
        """
        return self._writing(self.left, norm.read) is None

    def _ffn(self, raw: Tensor, mid: Tensor | None, attention: Sublayer) -> tuple[Sublayer, Tensor, bool]:
        """The feed-forward sub-layer, its raw output, and whether it runs parallel to attention."""
        parallel = mid is None
        stream = self.entered + raw if mid is None else mid
        norm_after = self._last(call for call in self.norms if self._same(call.wrote, self.left))
        if norm_after is not None and self._same(norm_after.wrote, stream):
            norm_after = None
        target = self.left if norm_after is None else norm_after.read
        found = self._writing(target, stream)
        if found is None:
            raise NotABlock("no module writes what its output holds beside input and attention")
        output, scale = found
        norm_out = output if output in self.norms else None
        if norm_out is not None:
            output = self._first_writer(norm_out.read)
        read = self.entered if parallel else stream
        norm_in = self._norm_reading(read, after=-1 if parallel else self.moment.time)
        if norm_in is norm_after:
            norm_in = None
        states = read if norm_in is None else norm_in.wrote
        sublayer = Sublayer(
            self._path(output),
            self._chain(states, output.wrote),
            norm_in=self._place(norm_in),
            norm_out=self._place(norm_out),
            norm_after=self._place(norm_after),
            scale=scale,
            matrices=self._matrices(states, output.wrote),
            gated=gated_places(self.calls, states, output.wrote, self._path, self.allowed, self._same),
        )
        return sublayer, output.wrote, parallel

    def _matrices(self, read: Tensor, wrote: Tensor) -> Matrices | None:
        """The feed-forward part as linear, activation, linear, if it is that."""
        for first in self._reading(read):
            form = linear_form(first.module, first.read, first.wrote, self.allowed)
            for active in self._reading(first.wrote) if form is not None else ():
                for second in self._reading(active.wrote) if active.wrote.shape == first.wrote.shape else ():
                    same_form = linear_form(second.module, second.read, second.wrote, self.allowed) == form
                    if same_form and self._same(second.wrote, wrote):
                        return Matrices(self._path(first), self._path(active), self._path(second), bool(form))
        return None

    def _chain(self, read: Tensor, wrote: Tensor, depth: int = 6) -> tuple[str, ...]:
        """Modules that, called one after another, lead from one tensor to the other; the fewest and largest first."""
        for call in self._reading(read):
            if call in self.norms or self._same(call.wrote, call.read):
                continue
            if self._same(call.wrote, wrote):
                return (self._path(call),)
            rest = self._chain(call.wrote, wrote, depth - 1) if depth > 1 else ()
            if rest:
                return (self._path(call), *rest)
        return ()

    # Comparing tensors -----------------------------------------------------------------------------------------------

    def _same(self, left: Tensor, right: Tensor, noise: float = 0.0) -> bool:
        return _close(left, right, self.allowed, noise)

    def _scale(self, whole: Tensor, stream: Tensor, raw: Tensor) -> float | Tensor | None:
        """The number (or vector over d_model) s with whole = stream + s · raw; None if there is none."""
        if not whole.shape == stream.shape == raw.shape:
            return None
        added = whole - stream
        noise = (
            8 * torch.finfo(whole.dtype).eps * float(whole.abs().max())
        )  # a small addition is only known to rounding
        number = float((added * raw).sum() / raw.square().sum())
        if abs(number) > 1e-6 and self._same(raw * number, added, noise):
            return 1.0 if abs(number - 1) <= self.allowed else number
        over = tuple(range(raw.ndim - 1))
        vector = (added * raw).sum(over) / raw.square().sum(over)
        return (
            vector
            if vector.abs().max() > 1e-6 and raw.shape[-2] > 1 and self._same(raw * vector, added, noise)
            else None
        )

    def _reading(self, tensor: Tensor) -> list[Call]:
        return [call for call in self.calls if self._same(call.read, tensor)]

    def _norm_reading(self, tensor: Tensor, after: int = -1, before: int | None = None) -> Call | None:
        calls = (call for call in self.norms if call.began > after and (before is None or call.ended < before))
        return next((call for call in calls if self._same(call.read, tensor)), None)

    def _writing(self, whole: Tensor, stream: Tensor) -> tuple[Call, float | Tensor] | None:
        """The first call (in order of ending) whose output s times added to the stream gives the whole, and s."""
        for call in sorted(self.calls, key=lambda call: call.ended):
            if not self._same(call.wrote, self.left):
                scale = self._scale(whole, stream, call.wrote)
                if scale is not None:
                    return call, scale
        return None

    def _first_writer(self, tensor: Tensor) -> Call:
        calls = sorted(self.calls, key=lambda call: call.ended)
        found = next((call for call in calls if self._same(call.wrote, tensor)), None)
        if found is None:
            raise NotABlock("the norm on its feed-forward output reads a tensor that no module wrote")
        return found

    def _last(self, calls: Iterable[Call]) -> Call | None:
        return max(calls, key=lambda call: call.ended, default=None)

    def _follows(self, call: Call, projection: Call) -> bool:
        return call.began > projection.ended and call.read.shape == self.entered.shape

    def _norm_place(self, call: Call) -> NormPlace | None:
        return recognise_norm(self._path(call), call.module, call.read, call.wrote, self.allowed)

    def _place(self, norm: Call | None) -> NormPlace | None:
        return None if norm is None else self.norms[norm]

    def _path(self, call: Call) -> str:
        return call.path.removeprefix(self.outer.path).removeprefix(".")


def _close(left: Tensor, right: Tensor, allowed: float, noise: float = 0.0) -> bool:
    if left.shape != right.shape:
        return False
    return bool((left - right).abs().max() <= 0.1 * allowed * right.abs().max() + noise)
