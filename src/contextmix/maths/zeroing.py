"""Value Zeroing in closed form: how far does each row of a block's output move when one token's value is set to zero?

Zeroing the value of token j changes the attention output of row i by −Σ_h α^h_ij f^h(x_j), and nothing else. So the
block is not run again; only the *changes* are pushed through the rest of it. The first feed-forward matrix never sees
n² rows: a change enters it as a combination of H + 1 vectors that depend on i or on j alone, each of which is
multiplied by that matrix once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from contextmix.maths.differences import inverse_change, norm_change
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.gated import GatedHeads
from contextmix.maths.norms import Norm, linear, normalise

BLOCK_ELEMENTS = 1 << 22
"""Numbers of the feed-forward part's inner layer that are worked on at a time: 16 MiB, enough for fast products."""

Product = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Tail:
    """What follows the attention output in a block; all states (query, d_model), of one sequence.

    Attributes:
        attention_out: Raw output of attention, the input of ``attention_norm_out``.
        attention_norm_out: Norm on it before the addition.
        attention_scale: Factor of it.
        attention_sum: The residual stream after the addition.
        norm_after: Norm on the stream after the addition (post-norm).
        residual_mid: The stream between the sub-layers.
        norm_in: Norm in front of the feed-forward part (pre-norm).
        ffn: The feed-forward part: two matrices, or any function of its input; None where it runs parallel to attention
            and therefore never learns of the change.
        ffn_out: Its raw output.
        ffn_norm_out: Norm on it before the addition.
        ffn_scale: Factor of it.
        ffn_sum: The stream after the second addition.
        norm_last: Norm on the stream after it (post-norm).
        keep: Factor of the stream that the feed-forward part is added to.
    """

    attention_out: Tensor
    attention_norm_out: Norm | None
    attention_scale: float | Tensor
    attention_sum: Tensor
    norm_after: Norm | None
    residual_mid: Tensor
    norm_in: Norm | None
    ffn: FeedForward | Callable[[Tensor], Tensor] | None
    ffn_out: Tensor
    ffn_norm_out: Norm | None
    ffn_scale: float | Tensor
    ffn_sum: Tensor
    norm_last: Norm | None
    keep: float | Tensor = 1.0

    def row(self, query: int) -> Tail:
        """The same for one query alone."""
        states = ("attention_out", "attention_sum", "residual_mid", "ffn_out", "ffn_sum")
        return replace(self, **{name: getattr(self, name)[query : query + 1] for name in states})


def zeroing_changes(
    attention: Tensor,
    sources: Tensor | GatedHeads,
    tail: Tail,
    product: Product = torch.matmul,
    reader: Reader | None = None,
) -> Iterator[tuple[slice, slice, Tensor]]:
    """The change of each row of the block's output, for one zeroed token after another.

    Args:
        attention: (head, query, key): weights of the heads that are zeroed.
        sources: (key, head, d_model): f^h(x_j), what each token sends per unit of attention; or the heads themselves,
            where a gate behind them makes that another vector for each row.
        tail: The rest of the block.
        product: The matrix product of the second feed-forward matrix; a reduced-precision one may stand in.
        reader: What `reader_of` made for the same sources and tail, to be used again.

    Yields:
        A slice of zeroed tokens, the slice of queries that can see them, and the changes (zeroed, query, d_model).
    """
    n_keys = attention.shape[-1]
    inner = tail.ffn.first.shape[-1] if isinstance(tail.ffn, FeedForward) else 4 * tail.attention_out.shape[-1]
    inner = max(inner, sources.width) if isinstance(sources, GatedHeads) else inner
    step = max(1, BLOCK_ELEMENTS // (attention.shape[-2] * inner))
    reader = reader or reader_of(tail, sources)
    for start in range(0, n_keys, step):
        zeroed = slice(start, min(start + step, n_keys))
        seen = _first_query(attention[..., zeroed])
        queries = slice(seen, attention.shape[-2])
        weights = -attention[:, queries, zeroed].permute(2, 1, 0)  # (zeroed, query, head)
        if seen == attention.shape[-2]:
            continue
        raw = _lost(sources, weights, zeroed, queries)
        yield zeroed, queries, _change(raw, weights, zeroed, queries, tail, reader, product)


def _lost(sources: Tensor | GatedHeads, weights: Tensor, zeroed: slice, queries: slice) -> Tensor:
    """The change of the attention output, (zeroed, query, d_model)."""
    return -sources.vectors(zeroed, queries) if isinstance(sources, GatedHeads) else weights @ sources[zeroed]


def _change(
    raw: Tensor,
    weights: Tensor,
    zeroed: slice,
    queries: slice,
    tail: Tail,
    reader: Reader | None,
    product: Product,
) -> Tensor:
    added = norm_change(tail.attention_out[queries], raw, tail.attention_norm_out) * tail.attention_scale
    if tail.ffn is None:
        return norm_change(tail.ffn_sum[queries], _kept(added, tail), tail.norm_last)
    if reader is not None:
        spread = None if reader.norm is None else inverse_change(reader.total[queries], added, reader.norm)
        moved = reader.feed_forward_change(weights, spread, zeroed, queries, product)
        shared = spread if tail.norm_after is not None else None
        stream = norm_change(tail.attention_sum[queries], added, tail.norm_after, shared)
    else:
        stream = norm_change(tail.attention_sum[queries], added, tail.norm_after)
        read = norm_change(tail.residual_mid[queries], stream, tail.norm_in)
        moved = _any_feed_forward_change(tail.ffn, norm_in(tail)[queries], read)
    moved = norm_change(tail.ffn_out[queries], moved, tail.ffn_norm_out) * tail.ffn_scale
    return norm_change(tail.ffn_sum[queries], _kept(stream, tail) + moved, tail.norm_last)


def _kept(stream: Tensor, tail: Tail) -> Tensor:
    return stream if isinstance(tail.keep, float) and tail.keep == 1.0 else stream * tail.keep


def _is_factored(tail: Tail) -> bool:
    """Whether a change reaches the first matrix as a sum of vectors of i or of j: at most one norm lies between."""
    one_norm = tail.norm_after is None or tail.norm_in is None
    plain = tail.attention_norm_out is None
    return isinstance(tail.ffn, FeedForward) and one_norm and plain


@dataclass(frozen=True)
class Reader:
    """The first feed-forward matrix applied to n·H + n vectors instead of n².

    Attributes:
        ffn: The feed-forward part.
        norm: The one norm between the attention output and the feed-forward part, if there is one.
        total: (query, d_model): its clean input.
        moves: (zeroed, head, d_ffn): what each token sends, as the first matrix reads it.
        rows: (query, d_ffn): the clean input of the norm, centred, as the first matrix reads it.
        before: (query, d_ffn): the clean inner layer, before the activation.
        after: (query, d_ffn): the same, after it.
    """

    ffn: FeedForward
    norm: Norm | None
    total: Tensor
    moves: Tensor
    rows: Tensor | None
    before: Tensor
    after: Tensor

    def row(self, query: int) -> Reader:
        """The same for one query alone."""
        states = {name: getattr(self, name)[query : query + 1] for name in ("total", "before", "after")}
        return replace(self, rows=None if self.rows is None else self.rows[query : query + 1], **states)

    def feed_forward_change(
        self,
        weights: Tensor,
        spread: tuple[Tensor, Tensor] | None,
        zeroed: slice,
        queries: slice,
        product: Product,
    ) -> Tensor:
        """ffn(z + Δz) − ffn(z), (zeroed, query, d_model); ``spread`` is the `inverse_change` of the norm before it."""
        if spread is None or self.rows is None:
            before = torch.baddbmm(self.before[queries].expand(len(weights), -1, -1), weights, self.moves[zeroed])
        else:
            inverse, grown = spread
            clean = torch.addcmul(self.before[queries], grown, self.rows[queries])
            before = clean.baddbmm_(weights * inverse, self.moves[zeroed])
        moved = self.ffn.activation(before).sub_(self.after[queries])
        return product(moved, self.ffn.second)


def reader_of(tail: Tail, sources: Tensor | GatedHeads) -> Reader | None:
    """The reader for these sources (key, head, d_model); None where a change does not reach the matrix as a sum."""
    if isinstance(sources, GatedHeads) or not _is_factored(tail):
        return None
    assert isinstance(tail.ffn, FeedForward)
    norm, first = tail.norm_after or tail.norm_in, tail.ffn.first
    total = tail.attention_sum if tail.norm_in is None else tail.residual_mid
    sent = sources * tail.attention_scale
    sent = sent if norm is None else linear(sent, norm)
    before = tail.ffn.before_activation(tail.residual_mid if tail.norm_in is None else norm_in(tail))
    return Reader(
        ffn=tail.ffn,
        norm=norm,
        total=total,
        moves=(sent.flatten(0, 1) @ first).view(*sent.shape[:2], -1),  # one product: batched ones take twice as long
        rows=None if norm is None else linear(total, norm) @ first,
        before=before,
        after=tail.ffn.activation(before),
    )


def norm_in(tail: Tail) -> Tensor:
    """What the feed-forward part reads in a clean run."""
    return tail.residual_mid if tail.norm_in is None else normalise(tail.residual_mid, tail.norm_in)


def _any_feed_forward_change(ffn: Callable[[Tensor], Tensor], clean: Tensor, change: Tensor) -> Tensor:
    """The change for a feed-forward part that is only known as a function (gated, mixture of experts)."""
    changed = ffn(clean + change)
    return changed - ffn(clean)


def bfloat16_product(changes: Tensor, matrix: Tensor) -> Tensor:
    """A matrix product in bfloat16: 8 bits of each change, and changes are small against the clean states."""
    return (changes.bfloat16() @ matrix.bfloat16()).to(changes.dtype)


def _first_query(attention: Tensor) -> int:
    """The first row that gives any weight to these keys: causal maps leave half of the work undone."""
    rows = attention.ne(0).any(0).any(-1).nonzero()
    return int(rows[0]) if len(rows) else attention.shape[-2]
