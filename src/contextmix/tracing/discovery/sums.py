"""Read a block whose sums hold more than its input, attention and a feed-forward part.

    h = norm_after ( keep · x + scale · norm_out(attention(…)) + shift + scale_0 · what one module wrote )
    y = norm_after'( keep' · h + scale' · norm_out'(ffn(…)) + shift' + Σ scale_k · what module k wrote )

where norm_in(x) may stand in the place of x.
Factors, constants and further additions are found by least squares over all tokens of the probe, the fewest terms
first: only what rebuilds the sum counts, and all of it is fixed from then on and checked on every run. What is added
must read one token at a time, which `locality` proves of the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from contextmix.traces.anatomy import Sublayer
from contextmix.traces.places import Addition
from contextmix.tracing.discovery.claims import NotABlock, Sums
from contextmix.tracing.discovery.diary import Call
from contextmix.tracing.discovery.reader import BlockReader
from contextmix.tracing.recording.verify import close

_MOST = 3
"""Modules whose outputs are added behind attention, at most."""
_SAMPLE = 32
"""Channels that are looked at before all are."""


class Sum(NamedTuple):
    """A tensor as factors (numbers, or one per d_model) of others, and a constant per d_model."""

    factors: tuple[float | Tensor, ...]
    shift: Tensor | None


class _Middle(NamedTuple):
    """One reading of what follows attention: the sub-layer, and the stream between the sub-layers."""

    attention: Sublayer
    stream: Tensor
    added: Tensor | None


class FurtherReader(BlockReader):
    """Reads blocks of the wider equation."""

    def sums(self, projection: Call) -> Sums:
        """See `BlockReader`."""
        middles = list(self._middles(projection))
        for count in range(1, _MOST + 1):
            for middle in middles:
                found = self._behind(projection, middle, count)
                if found is not None:
                    return found
        alone = self._alone(projection)
        if alone is None:
            raise NotABlock("no module writes what its output holds beside input and attention")
        return alone

    def _middles(self, projection: Call) -> Iterator[_Middle]:
        """Every reading of where attention ends; with something else that is added there only if there is none."""
        for beside in (False, True):
            found = False
            for call in self.calls:
                others = self._beside(projection, call) if beside else (None,)
                for other in others if self._follows(call, projection) else ():
                    attention = self._after_attention(projection, call.read, other)
                    if attention is None:
                        continue
                    found = True
                    added = None if other is None else other.wrote * attention.additions[0].scale
                    yield _Middle(attention, call.read, added)
                    if call in self.norms:
                        yield _Middle(replace(attention, norm_after=self._place(call)), call.wrote, added)
            if found:
                return

    def _after_attention(self, projection: Call, whole: Tensor, beside: Call | None = None) -> Sublayer | None:
        """The attention sub-layer that leaves this sum; None if it is no sum of the residual and attention."""
        norm_in = self._norm_reading(self.entered, before=self.moment.time)
        norm_out = self._norm_reading(projection.wrote, after=projection.began)
        raw = projection.wrote if norm_out is None else norm_out.wrote
        more = () if beside is None else (beside.wrote,)
        for stream in (self.entered, None if norm_in is None else norm_in.wrote):
            found = None if stream is None else self._sum(whole, (stream, raw, *more))
            if found is not None:
                keep, scale, *scales = found.factors
                return Sublayer(
                    self._path(projection),
                    norm_in=self._place(norm_in),
                    norm_out=self._place(norm_out),
                    scale=scale,
                    keep=keep,
                    normed=stream is not self.entered,
                    shift=found.shift,
                    additions=tuple(Addition(self._path(beside), own) for own in scales if beside is not None),
                )
        return None

    def _beside(self, projection: Call, middle: Call) -> list[Call]:
        """The calls in front of a sum after attention that neither hold attention nor follow it."""
        return [
            call
            for call in self.calls
            if call.ended < middle.began
            and (call.ended < self.moment.time or call.began > projection.ended)
            and call.wrote.shape == self.left.shape
            and not any(self._same(call.wrote, other) for other in (self.entered, projection.wrote))
        ]

    def _behind(self, projection: Call, middle: _Middle, count: int) -> Sums | None:
        """What so many modules add behind attention; None if no so many do."""
        last = self._last(call for call in self.norms if self._same(call.wrote, self.left))
        written = self._written(projection, middle.stream)
        for norm_after in (None, *(() if last is None else (last,))):
            target = self.left if norm_after is None else norm_after.read
            for calls in combinations(written, count):
                found = self._sum(target, (middle.stream, *(call.wrote for call in calls)))
                if found is None:
                    continue
                keep, scale, *scales = found.factors
                ffn, ffn_out = self.ffn_place(calls[0], scale, middle.stream, norm_after)
                additions = tuple(Addition(self._path(c), s) for c, s in zip(calls[1:], scales, strict=True))
                ffn = replace(ffn, keep=keep, shift=found.shift, additions=additions)
                added = [call.wrote * one.scale for call, one in zip(calls[1:], additions, strict=True)]
                after = torch.stack(added).sum(0) if added else None
                return Sums(middle.attention, ffn, ffn_out, attention_added=middle.added, ffn_added=after)
        return None

    def _alone(self, projection: Call) -> Sums | None:
        """A block without a feed-forward part."""
        attention = self._after_attention(projection, self.left)
        nothing = torch.zeros_like(self.left)
        return None if attention is None else Sums(attention, Sublayer(""), nothing)

    def _written(self, projection: Call, stream: Tensor) -> list[Call]:
        """The calls after attention whose output may be added, in order of ending; of equal ones the first."""
        found: list[Call] = []
        for call in sorted(self.calls, key=lambda call: call.ended):
            behind = call.began > projection.ended and call.wrote.shape == self.left.shape
            others = (stream, self.left, *(other.wrote for other in found))
            if behind and not any(self._same(call.wrote, other) for other in others):
                found.append(call)
        return found

    def _sum(self, whole: Tensor, terms: Sequence[Tensor]) -> Sum | None:
        return rebuilt(whole, terms, self.allowed) if all(one.shape == whole.shape for one in terms) else None


def rebuilt(whole: Tensor, terms: Sequence[Tensor], allowed: float) -> Sum | None:
    """A tensor as a sum of others, all (..., d_model), none of which may be left out; None if it is no such sum.

    Example:
        >>> x, a = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [2.0, 1.0]])
        >>> result = rebuilt(0.5 * x + 2 * a, (x, a), 1e-4)
        >>> [round(factor, 6) for factor in result.factors], result.shift
        ([0.5, 2.0], None)
    """
    eps = torch.finfo(whole.dtype).eps
    rows, *parts = [one.detach().flatten(0, -2).double().cpu() for one in (whole, *terms)]
    noise = 8 * eps * float(rows.abs().max())
    if not _may_be(rows, parts, allowed, eps):
        return None
    for factors, shift in _fits(rows, parts):
        added = [one * factor for one, factor in zip(parts, factors, strict=True)]
        found = torch.stack(added).sum(0) + (0 if shift is None else shift)
        if all(float(one.abs().max()) > 10 * noise for one in added) and close(found, rows, allowed, noise):
            return Sum(tuple(_plain(factor, whole) for factor in factors), None if shift is None else shift.to(whole))
    return None


def _may_be(whole: Tensor, terms: Sequence[Tensor], allowed: float, eps: float) -> bool:
    """Whether a sample of the channels is such a sum: most candidates are none, and every channel is fitted alone."""
    every = whole.shape[-1] // _SAMPLE
    if every < 2:
        return True
    whole, *terms = (one[:, ::every] for one in (whole, *terms))
    noise = 8 * eps * float(whole.abs().max())
    for factors, shift in _fits(whole, terms):
        found = torch.stack([one * factor for one, factor in zip(terms, factors, strict=True)]).sum(0)
        if close(found if shift is None else found + shift, whole, allowed, noise):
            return True
    return False


def _fits(whole: Tensor, terms: Sequence[Tensor]) -> Iterator[tuple[Sequence[Tensor], Tensor | None]]:
    """Least squares over (token, d_model): a number for each term; then one per d_model, and with a constant."""
    flat = torch.stack([one.flatten() for one in terms], -1)
    yield torch.linalg.lstsq(flat, whole.reshape(-1, 1)).solution.flatten().unbind(), None
    for columns in (terms, [*terms, torch.ones_like(whole)]):
        if len(whole) > len(columns) + 1:  # fewer tokens fit anything
            stacked = torch.stack(list(columns), -1).transpose(0, 1)  # (d_model, token, term)
            found = torch.linalg.lstsq(stacked, whole.T.unsqueeze(-1)).solution.squeeze(-1).T.unbind()
            yield found[: len(terms)], found[-1] if len(columns) > len(terms) else None


def _plain(factor: Tensor, like: Tensor) -> float | Tensor:
    """A number where all are the same; exactly one where rounding is all that keeps it from one."""
    rounding = 100 * torch.finfo(like.dtype).eps
    number = float(factor.mean())
    if bool((factor - number).abs().max() > rounding * factor.abs().max()):
        return factor.to(like)
    return 1.0 if abs(number - 1) <= rounding else number
