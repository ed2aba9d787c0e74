"""Read one block from the diary of a run: every question is answered by comparing tensors, none by a name.

1. The *output projection* is the linear module that reads the attention output, as it is or times a factor (`outlet`).
2. Norms are recognised by what they compute: a module whose output is the LayerNorm or RMSNorm of its input under its
   own weight.
3. Sums are matched by their tensors: x + s·a for a number or a vector s, and the same for the feed-forward part.

What is found is then put into the block equation and must reproduce the block's output; otherwise it is no anatomy.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from transformers import PreTrainedModel

from contextmix.maths.precision import at_least_float32
from contextmix.traces.anatomy import BlockAnatomy, Sublayer
from contextmix.traces.block import BlockStates
from contextmix.traces.places import LinearPlace, Outlet, ProjectionPlaces
from contextmix.tracing.discovery.claims import NotABlock, Sums
from contextmix.tracing.discovery.diary import Call
from contextmix.tracing.discovery.linear import (
    gated_places,
    linear_place,
    matrices_place,
    parameter_places,
    shifted_place,
    uncalled_places,
)
from contextmix.tracing.discovery.lookup import DiaryReader
from contextmix.tracing.discovery.outlet import OutletSearch, factor_inside
from contextmix.tracing.recording.resolve import linear_form, resolve_block
from contextmix.tracing.recording.verify import relative_error


class BlockReader(DiaryReader):
    """Reads one block from a diary; every question is answered by comparing tensors."""

    def block(self, model: PreTrainedModel) -> BlockAnatomy:
        """The anatomy of this call, proved on its own tensors.

        Raises:
            NotABlock: If it is no block of the block equation.
        """
        self._refuse_other_axes()
        projection, output, outlet = self._behind_heads(model)
        found = self.sums(projection)
        projections, value = self._projections(), self._value()
        place = BlockAnatomy(
            self.outer.path,
            found.attention,
            found.ffn,
            found.parallel,
            output.transposed,
            projections,
            value,
            None if output.path == found.attention.output else output,
            self.turned,
            outlet=outlet,
        )
        states = (at_least_float32(tensor) for tensor in (self.entered, projection.wrote, found.ffn_out))
        added = (None if one is None else at_least_float32(one) for one in (found.attention_added, found.ffn_added))
        rebuilt = BlockStates(resolve_block(model, place, self.moment.n_heads), *states, *added).residual_out
        error = relative_error(rebuilt, at_least_float32(self.left))
        if not error <= self.allowed:
            raise NotABlock(
                f"its parts rebuild its output only within {error:.1e} (relative; allowed {self.allowed:.0e})"
            )
        return place

    def sums(self, projection: Call) -> Sums:
        """What the block adds up.

        Raises:
            NotABlock: If it is something else than its input, attention and a feed-forward part.
        """
        attention, raw, mid = self._attention(projection)
        return Sums(attention, *self._ffn(raw, mid))

    def _refuse_other_axes(self) -> None:
        """States are (batch, token, d_model), and attention is over the same tokens."""
        states, heads = tuple(self.entered.shape), tuple(self.moment.output.shape)
        if len(states) != 3:
            raise NotABlock(f"its states have the axes {states}, and not (batch, token, d_model)")
        if states[:2] != heads[:2]:
            raise NotABlock(
                f"its {states[0]} × {states[1]} tokens attend as {heads[0]} sequences of {heads[1]} (windows, or "
                "several at a time), and one map over its tokens cannot say that"
            )

    def _behind_heads(self, model: PreTrainedModel) -> tuple[Call, LinearPlace, Outlet | None]:
        """The output projection, and what stands between the heads and it."""
        refusal = "the heads' output is not their values times the weights"
        if not factor_inside(self.moment, self.allowed):
            try:
                return *self._projection(), None
            except NotABlock as reason:
                refusal = str(reason)
        own = self.outer, self.moment, self.calls, self.norms, self._path, self.turned, self.allowed
        found = OutletSearch(model, *own).found()
        if isinstance(found, str):
            raise NotABlock(f"{refusal}; {found}")
        return found

    def _projection(self) -> tuple[Call, LinearPlace]:
        """What reads the heads' output, after attention, and writes states; equal numbers alone may be an accident."""
        reading = [call for call in self._reading(self.moment.output) if call.began > self.moment.time]
        for call in reading:
            transposed = linear_form(call.module, call.read, call.wrote, self.allowed)
            if transposed is not None and call.wrote.shape == self.entered.shape:
                return call, LinearPlace(self._path(call), None, transposed)
        for place, wrote in self._unheld(self.moment.output, self.entered.shape[-1]):
            for call in self.calls:  # what passes on what a parameter made, such as dropout
                passes = call.began > self.moment.time and self._same(call.read, wrote)
                if passes and self._same(call.wrote, call.read):
                    return call, place
        between = [f"{self._path(call)} ({type(call.module).__name__})" for call in reading]
        raise NotABlock(
            "no linear module reads the heads' output directly (a gate or norm lies between, or it is split)"
            + (f"; it is read by {', '.join(between)}" if between else "")
        )

    def _unheld(self, read: Tensor, width: int) -> Iterator[tuple[LinearPlace, Tensor]]:
        """What linear maps that no call shows make of a tensor."""
        yield from parameter_places(self.outer.module, read, width)
        yield from uncalled_places(self.outer.module, self.calls, read, width)

    def _projections(self) -> ProjectionPlaces | None:
        """The linear modules that write the queries, keys and values from what enters the block, normed or not."""
        norm_in = self._norm_reading(self.entered, before=self.moment.time)
        reading = self._reading(self.entered if norm_in is None else norm_in.wrote)
        forms = {call: linear_form(call.module, call.read, call.wrote, self.allowed) for call in reading}
        linear = [call for call, form in forms.items() if form is not None]
        if self.moment.query is None or self.moment.key is None:
            return None
        wanted = (self.moment.query, self.moment.key, self.moment.value)
        query, key, value = (next((c for c in linear if self._same(c.wrote, tensor)), None) for tensor in wanted)
        if query is None or key is None or value is None or len({forms[call] for call in (query, key, value)}) > 1:
            return None
        return ProjectionPlaces(self._path(query), self._path(key), self._path(value), bool(forms[query]))

    def _value(self) -> LinearPlace | None:
        """The linear map that writes the values, from what enters the block, normed or not."""
        norm_in = self._norm_reading(self.entered, before=self.moment.time)
        reading = self._reading(self.entered if norm_in is None else norm_in.wrote)
        found = linear_place(reading, self.moment.value, self._path, self.allowed)
        if found is not None or self.moment.query is not None:
            return found
        read, value = self.entered if norm_in is None else norm_in.wrote, self.moment.value
        found = next((place for place, wrote in self._unheld(read, value.shape[-1]) if self._same(wrote, value)), None)
        return found or shifted_place(reading, value, self.outer.module, self._path, self.allowed)

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

    def _ffn(self, raw: Tensor, mid: Tensor | None) -> tuple[Sublayer, Tensor, bool]:
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
        return *self.ffn_place(*found, self.entered if parallel else stream, norm_after, parallel), parallel

    def ffn_place(
        self, output: Call, scale: float | Tensor, read: Tensor, norm_after: Call | None, parallel: bool = False
    ) -> tuple[Sublayer, Tensor]:
        """The feed-forward sub-layer whose output, times a scale, is added; and its raw output."""
        before = self._first_writing(output.read) if output in self.norms else None
        norm_out = None if before is None else output  # a norm whose input no module writes is part of the black box
        output = before or output
        after = -1 if parallel else self.moment.time
        norms = [call for call in self.norms if call.began > after and self._same(call.read, read)]
        norms = [norm for norm in norms if norm is not norm_after]
        leading = (norm for norm in norms if self._chain(norm.wrote, output.wrote))  # two may read the same (GPT-NeoX)
        norm_in = next(leading, norms[0] if norms else None)
        states = read if norm_in is None else norm_in.wrote
        sublayer = Sublayer(
            self._path(output),
            self._chain(states, output.wrote),
            norm_in=self._place(norm_in),
            norm_out=self._place(norm_out),
            norm_after=self._place(norm_after),
            scale=scale,
            matrices=matrices_place(self.calls, states, output.wrote, self._path, self.allowed, self._same),
            gated=gated_places(self.calls, states, output.wrote, self._path, self.allowed, self._same),
        )
        return sublayer, output.wrote

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
