"""Value Zeroing: how far does each token's output move when one token's value vector is set to zero?

C_ij = 1 − cos(y_i, y_i^{¬j}), rows divided by their sum. The value of token j is zeroed in this layer alone (after its
bias); attention weights, queries and keys stay. The zeroed token's own residual stays too, so the diagonal is what a
token draws from itself *through attention*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from contextmix.contracts import Measured, Method
from contextmix.errors import BadOption, UnsupportedModel
from contextmix.maths.differences import cosine_distance, euclidean_distance
from contextmix.maths.shares import row_shares
from contextmix.maths.zeroing import Tail, bfloat16_product, zeroing_changes
from contextmix.papers import MOHEBBI_2023
from contextmix.tokenmap import Quantity
from contextmix.trace import LayerTrace

_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cosine": cosine_distance, "euclidean": euclidean_distance}
_PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"full": torch.matmul, "bfloat16": bfloat16_product}


def measure(
    layer: LayerTrace,
    *,
    distance: Literal["cosine", "euclidean"] = "cosine",
    heads: Sequence[int] | None = None,
    normalise: bool = True,
    precision: Literal["full", "bfloat16"] = "full",
) -> Measured:
    """Value Zeroing of one layer, in closed form.

    Args:
        layer: The recorded layer.
        distance: ``"cosine"`` distance (the paper's) or ``"euclidean"``.
        heads: Zero the value in these heads only; left out, in all.
        normalise: Divide each row by its sum, as the paper does.
        precision: ``"bfloat16"`` multiplies the differences by the second feed-forward matrix in reduced precision:
            about twice as fast where the processor has it. The largest error that this makes on one row of each layer
            is measured on the fly and noted.

    Returns:
        (..., query, key): shares, or distances when not normalised. Notes: ``zero_rows``, rows that no zeroing moves
        (they stay zero), and ``bfloat16_error``.

    Raises:
        BadOption: If an option has another value, or there is no such head.
        UnsupportedModel: If the sub-layers run in parallel, or the feed-forward part cannot be run on its own.

    Source:
        Mohebbi et al. (2023), section 3, in the closed form of `maths.zeroing`: exact, and in differences, because
        1 − cos of nearly equal vectors drowns in float32 rounding (the authors' code is off by up to 0.27 on real
        sentences). The compared vector is the block's output, in the last layer too.
    """
    _check(layer, distance, heads, precision)
    if layer.attention.ndim == 4:
        rows = [
            measure(layer[row], distance=distance, heads=heads, normalise=normalise, precision=precision)
            for row in range(len(layer.attention))
        ]
        notes = {name: torch.stack([row.notes[name] for row in rows]) for name in rows[0].notes}
        return Measured(torch.stack([row.values for row in rows]), notes)
    distances = _distances(layer, distance, heads, precision)
    notes = {"zero_rows": (distances.sum(-1) == 0).sum()}
    if precision != "full":
        notes["bfloat16_error"] = _error(layer, distance, heads, distances)
    return Measured(row_shares(distances) if normalise else distances, notes)


def _distances(
    layer: LayerTrace, distance: str, heads: Sequence[int] | None, precision: str, query: int | None = None
) -> Tensor:
    """All distances (query, key), or those of one query only, (1, key)."""
    parts, tail = layer.attention_parts, _tail(layer)
    attention, sources = parts.attention, parts.sources()
    if heads is not None:
        attention, sources = attention[list(heads)], sources[:, list(heads)]
    clean = layer.residual_out
    if query is not None:
        attention, clean, tail = attention[:, query : query + 1], clean[query : query + 1], tail.row(query)
    found = attention.new_zeros(attention.shape[-2:])
    for zeroed, queries, changes in zeroing_changes(attention, sources, tail, _PRODUCTS[precision]):
        found[queries, zeroed] = _DISTANCES[distance](clean[queries], changes).T
    return found


def _error(layer: LayerTrace, distance: str, heads: Sequence[int] | None, reduced: Tensor) -> Tensor:
    """The largest error of one row's shares (another row in each layer)."""
    query = (7 * layer.index) % reduced.shape[0]
    exact = row_shares(_distances(layer, distance, heads, "full", query))
    return (row_shares(reduced[query : query + 1]) - exact).abs().max()


def _tail(layer: LayerTrace) -> Tail:
    block, states = layer.block, layer.states
    assert block.feed_forward is not None  # checked before
    return Tail(
        attention_out=layer.attention_out,
        attention_norm_out=block.attention.norm_out,
        attention_scale=block.attention.scale,
        attention_sum=states.attention_sum,
        norm_after=block.attention.norm_after,
        residual_mid=states.residual_mid,
        norm_in=block.ffn.norm_in,
        ffn=block.feed_forward,
        ffn_out=layer.ffn_out,
        ffn_norm_out=block.ffn.norm_out,
        ffn_scale=block.ffn.scale,
        ffn_sum=states.ffn_sum,
        norm_last=block.ffn.norm_after,
    )


def _check(layer: LayerTrace, distance: str, heads: Sequence[int] | None, precision: str) -> None:
    if distance not in _DISTANCES:
        raise BadOption(f"value_zeroing measures cosine or euclidean distances; got distance={distance!r}.")
    if precision not in _PRODUCTS:
        raise BadOption(f"value_zeroing computes in full precision or with bfloat16 differences; got {precision!r}.")
    n_heads = layer.attention.shape[-3]
    if heads is not None and (not heads or not all(0 <= head < n_heads for head in heads)):
        raise BadOption(f"value_zeroing can zero heads 0 to {n_heads - 1}; got heads={list(heads)}.")
    if layer.block.parallel or layer.block.feed_forward is None:
        raise UnsupportedModel(
            f"Layer {layer.index}: value_zeroing needs a block whose feed-forward part reads the result of attention "
            "and can be run on its own. No number was produced."
        )


def _quantity(options: Mapping[str, Any]) -> Quantity:
    return Quantity.SHARE if options.get("normalise", True) else Quantity.DISTANCE


METHOD = Method(
    name="value_zeroing",
    measure=measure,
    quantity=_quantity,
    formula="C_ij = 1 − cos(y_i, y_i^{¬j}), rows sum to one",
    paper=MOHEBBI_2023,
    cost="n²·d·d_ffn: about 0.3·n forward passes for all layers",
)
