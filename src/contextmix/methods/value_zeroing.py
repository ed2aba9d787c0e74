"""Value Zeroing: how far does each token's output move when one token's value vector is set to zero?

C_ij = 1 − cos(y_i, y_i^{¬j}), rows divided by their sum. The value of token j is zeroed in this layer alone (after its
bias); attention weights, queries and keys stay. The zeroed token's own residual stays too, so the diagonal is what a
token draws from itself *through attention*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from contextmix.errors import BadOption, UnsupportedModel
from contextmix.maths.differences import cosine_distance, euclidean_distance
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.gated import GatedHeads
from contextmix.maths.precision import multiplies_bfloat16
from contextmix.maths.shares import row_shares
from contextmix.maths.zeroing import Reader, Tail, bfloat16_product, reader_of, zeroing_changes
from contextmix.maths.zeroing_steps import changes_through
from contextmix.plugins.contracts import Measured, Method, QuantityBy
from contextmix.plugins.papers import MOHEBBI_2023
from contextmix.results.token_map import Quantity
from contextmix.traces.continuation import attention_addition, following_steps
from contextmix.traces.trace import LayerTrace
from contextmix.traces.weights import refuse_channels

_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cosine": cosine_distance, "euclidean": euclidean_distance}
_PRECISIONS = ("full", "bfloat16")


def measure(
    layer: LayerTrace,
    *,
    distance: Literal["cosine", "euclidean"] = "cosine",
    heads: Sequence[int] | None = None,
    normalise: bool = True,
    precision: Literal["full", "bfloat16"] = "full",
) -> Measured:
    """Value Zeroing of one layer, in closed form where the block allows.

    Args:
        layer: The recorded layer.
        distance: ``"cosine"`` distance (the paper's) or ``"euclidean"``.
        heads: Zero the value in these heads only; left out, in all.
        normalise: Divide each row by its sum, as the paper does.
        precision: ``"bfloat16"`` multiplies the differences by the second feed-forward matrix in reduced precision:
            about twice as fast where the processor has it. The largest error that this makes on one row of each layer
            is measured on the fly and noted. The self-attention of a decoder block with cross-attention is always in
            full precision.

    Returns:
        (..., query, key): shares, or distances when not normalised. Notes: ``zero_rows``, rows that no zeroing moves
        (they stay zero), and ``bfloat16_error``.

    Raises:
        BadOption: If an option has another value, there is no such head, or the processor has no bfloat16.
        UnsupportedModel: If reduced precision is asked for and the feed-forward part is not two matrices.

    Source:
        Mohebbi et al. (2023), section 3, in the closed form of `maths.zeroing`: exact, and in differences, because
        1 − cos of nearly equal vectors drowns in float32 rounding (the authors' code is off by up to 0.27 on real
        sentences). The compared vector is the block's output, in the last layer too: before the final norm of a
        pre-norm model, which belongs to no block. Where what follows attention cannot be run on its own, or
        stands between heads and output projection and answers to the values (a norm), the block runs again for each
        token with its value set to zero. In a decoder block of an encoder–decoder, both steps compare the output of
        the whole block, so their distances are of one kind; cross-attention has no residual column.
    """
    _check(layer, distance, heads, precision)
    if layer.attention.ndim == 4:
        rows = [
            measure(layer[row], distance=distance, heads=heads, normalise=normalise, precision=precision)
            for row in range(len(layer.attention))
        ]
        notes = {name: torch.stack([row.notes[name] for row in rows]) for name in rows[0].notes}
        return Measured(torch.stack([row.values for row in rows]), notes)
    notes, distances = {}, None
    if heads is not None:
        refuse_channels(layer, "value_zeroing", "knows no heads here that could be zeroed by themselves")
    if layer.channelwise:
        _refuse_reduced(layer, precision)
        distances = _replayed(layer, distance, None)
    elif layer.following is not None:
        distances = _through_cross_attention(layer, layer.following, distance, heads)
    elif _has_closed_form(layer):
        zeroed = _Zeroed.of(layer, heads)
        distances = zeroed.distances(distance, precision)
        if precision != "full":
            notes["bfloat16_error"] = _error(zeroed, distance, distances, (7 * layer.index) % len(distances))
    if distances is None:
        distances = _replayed(layer, distance, heads)
    notes["zero_rows"] = (distances.sum(-1) == 0).sum()
    return Measured(row_shares(distances) if normalise else distances, notes)


def row(
    layer: LayerTrace,
    query: int,
    *,
    distance: Literal["cosine", "euclidean"] = "cosine",
    heads: Sequence[int] | None = None,
    normalise: bool = True,
    precision: Literal["full", "bfloat16"] = "full",
) -> Measured:
    """One row of what `measure` gives, (1, key), of one sequence; where there is a closed form, at the cost of one.

    Notes: those of `measure`, of this row alone.
    """
    _check(layer, distance, heads, precision)
    options: Any = {"distance": distance, "heads": heads, "precision": precision}
    notes: dict[str, Tensor] = {}
    if layer.channelwise or layer.following is not None or not _has_closed_form(layer):
        distances = measure(layer, normalise=False, **options).values[query : query + 1]
    else:
        zeroed = _Zeroed.of_row(layer, heads, query)
        distances = zeroed.distances(distance, precision)
        if precision != "full":
            notes["bfloat16_error"] = _error(zeroed, distance, distances, 0)
    notes["zero_rows"] = (distances.sum(-1) == 0).sum()
    return Measured(row_shares(distances) if normalise else distances, notes)


def _has_closed_form(layer: LayerTrace) -> bool:
    """Whether all that learns of the change can be run on its own; what else is added may read it, and cannot."""
    known = layer.block.parallel or layer.block.feed_forward is not None
    return known and layer.ffn_added is None and not layer.block.ffn.normed and not layer.gate_answers


def _replayed(layer: LayerTrace, distance: str, heads: Sequence[int] | None) -> Tensor:
    """All distances (query, key) by the definition: the block runs again for each token."""
    zeroed = layer.replay_zeroed
    if zeroed is None:
        raise UnsupportedModel(
            f"Layer {layer.index}: what follows attention cannot be run on its own and the block cannot be run again, "
            "so value_zeroing cannot tell what zeroing a value does. No number was produced."
        )
    clean, chosen = zeroed(None, None), None if heads is None else tuple(heads)
    rows = [_DISTANCES[distance](clean, zeroed(token, chosen) - clean) for token in range(layer.value.shape[-2])]
    attention = layer.attention if heads is None else layer.attention[list(heads)]
    return _of_seen_tokens(torch.stack(rows, dim=-1), attention)


@dataclass(frozen=True)
class _Zeroed:
    """What is zeroed in a layer, and what follows it: all queries, or one of them."""

    attention: Tensor
    sources: Tensor | GatedHeads
    tail: Tail
    clean: Tensor
    reader: Reader | None

    @classmethod
    def of(cls, layer: LayerTrace, heads: Sequence[int] | None) -> _Zeroed:
        tail = _tail(layer)
        attention, sources = _chosen(layer, heads)
        return cls(attention, sources, tail, layer.residual_out, reader_of(tail, sources))

    @classmethod
    def of_row(cls, layer: LayerTrace, heads: Sequence[int] | None, query: int) -> _Zeroed:
        """One query alone, from the start: for it the heads are one, so n vectors are read instead of n·H."""
        tail, one = _tail(layer).row(query), slice(query, query + 1)
        parts = layer.attention_parts
        if parts.gate is not None:
            return cls.of(layer, heads).row(query)
        chosen = slice(None) if heads is None else list(heads)
        attention, value, weight = parts.attention[chosen, query], parts.value[chosen], parts.weight[chosen]
        drawn = attention.unsqueeze(-1) * value  # (head, key, d_head)
        sources = (drawn.transpose(0, 1).flatten(1) @ weight.flatten(0, 1)).unsqueeze(1)
        seen = attention.ne(0).any(0).to(attention.dtype)[None, None]  # (1, 1, key)
        return cls(seen, sources, tail, layer.residual_out[one], reader_of(tail, sources))

    def row(self, query: int) -> _Zeroed:
        """One query alone."""
        reader = None if self.reader is None else self.reader.row(query)
        one = slice(query, query + 1)
        sources = self.sources.row(query) if isinstance(self.sources, GatedHeads) else self.sources
        return _Zeroed(self.attention[:, one], sources, self.tail.row(query), self.clean[one], reader)

    def distances(self, distance: str, precision: str) -> Tensor:
        """All distances, (query, key)."""
        found = self.attention.new_zeros(self.attention.shape[-2:])
        product = _bfloat16_product(self.tail) if precision == "bfloat16" else torch.matmul
        for zeroed, queries, changes in zeroing_changes(self.attention, self.sources, self.tail, product, self.reader):
            found[queries, zeroed] = _DISTANCES[distance](self.clean[queries], changes).T
        return _of_seen_tokens(found, self.attention)


def _through_cross_attention(
    layer: LayerTrace, cross: LayerTrace, distance: str, heads: Sequence[int] | None
) -> Tensor | None:
    """Distances of the whole decoder block's output for zeroed values of its self-attention, (query, key).

    None if what follows self-attention has no closed form.
    """
    following = following_steps(cross)
    if following is None:
        return None
    steps, width = following
    attention, sources = _chosen(layer, heads)
    assert isinstance(sources, Tensor)  # in blocks of two attentions nothing stands between heads and projection
    found = attention.new_zeros(attention.shape[-2:])
    for zeroed, changes in changes_through(attention, sources, attention_addition(layer), steps, width):
        found[:, zeroed] = _DISTANCES[distance](cross.residual_out, changes).T
    return _of_seen_tokens(found, attention)


def _of_seen_tokens(distances: Tensor, attention: Tensor) -> Tensor:
    """Without what rounding leaves to tokens that no head gives any weight: in a causal model, to later ones."""
    return distances.masked_fill_(~attention.ne(0).any(0), 0)


def _chosen(layer: LayerTrace, heads: Sequence[int] | None) -> tuple[Tensor, Tensor | GatedHeads]:
    """The attention of the zeroed heads, and what they send."""
    parts = layer.attention_parts
    if parts.gate is not None:
        (gated,) = parts.gated()
        gated = gated if heads is None else gated.of_heads(list(heads))
        return gated.attention, gated
    attention, sources = parts.attention, parts.sources()
    return (attention, sources) if heads is None else (attention[list(heads)], sources[:, list(heads)])


def _bfloat16_product(tail: Tail) -> Callable[[Tensor, Tensor], Tensor]:
    """The product with the second matrix, which is rounded once for all steps."""
    second = tail.ffn.second.bfloat16() if isinstance(tail.ffn, FeedForward) else None
    return lambda changes, matrix: bfloat16_product(changes, matrix if second is None else second)


def _error(zeroed: _Zeroed, distance: str, reduced: Tensor, query: int) -> Tensor:
    """The largest error of one row's shares (another row in each layer)."""
    exact = row_shares(zeroed.row(query).distances(distance, "full"))
    return (row_shares(reduced[query : query + 1]) - exact).abs().max()


def _refuse_reduced(layer: LayerTrace, precision: str) -> None:
    if precision != "full":
        raise UnsupportedModel(
            f"Layer {layer.index} is no attention, and its zeroed values are replayed, so reduced precision has "
            "nothing to act on. Use precision='full'."
        )


def _tail(layer: LayerTrace) -> Tail:
    block, states = layer.block, layer.states
    return Tail(
        attention_out=layer.attention_out,
        attention_norm_out=block.attention.norm_out,
        attention_scale=block.attention.scale,
        attention_sum=states.attention_sum,
        norm_after=block.attention.norm_after,
        residual_mid=states.residual_mid,
        norm_in=block.ffn.norm_in,
        ffn=None if block.parallel else block.feed_forward,
        ffn_out=layer.ffn_out,
        ffn_norm_out=block.ffn.norm_out,
        ffn_scale=block.ffn.scale,
        ffn_sum=states.ffn_sum,
        norm_last=block.ffn.norm_after,
        keep=block.ffn.keep,
    )


def _check(layer: LayerTrace, distance: str, heads: Sequence[int] | None, precision: str) -> None:
    if distance not in _DISTANCES:
        raise BadOption(f"value_zeroing measures cosine or euclidean distances; got distance={distance!r}.")
    if precision not in _PRECISIONS:
        raise BadOption(f"value_zeroing computes in full precision or with bfloat16 differences; got {precision!r}.")
    n_heads = layer.attention.shape[-3]
    if heads is not None and (not heads or not all(0 <= head < n_heads for head in heads)):
        raise BadOption(f"value_zeroing can zero heads 0 to {n_heads - 1}; got heads={list(heads)}.")
    reads = isinstance(layer.block.feed_forward, FeedForward) and not layer.block.parallel
    if precision != "full" and not layer.channelwise and not (reads and _has_closed_form(layer)):
        raise UnsupportedModel(
            f"Layer {layer.index}: reduced precision is for a feed-forward part of two matrices with an activation "
            "between them, which alone reads the result of attention, and for heads whose output no norm divides, and "
            "this layer is not of that kind. Use precision='full'."
        )
    if precision == "bfloat16" and not multiplies_bfloat16(layer.attention.device):
        raise BadOption(
            "value_zeroing was asked for precision='bfloat16', and this processor has no instructions for it: the same "
            "products would take about four times as long as exact ones. Use precision='full'."
        )


METHOD = Method(
    name="value_zeroing",
    title="Value Zeroing",
    measure=measure,
    quantity=QuantityBy("normalise", {False: Quantity.DISTANCE}, otherwise=Quantity.SHARE),
    formula="C_ij = 1 − cos(y_i, y_i^{¬j}), rows sum to one",
    paper=MOHEBBI_2023,
    cost="n²·d·d_ffn: about 0.3·n forward passes for all layers",
    decoder="output",
    row=row,
)
