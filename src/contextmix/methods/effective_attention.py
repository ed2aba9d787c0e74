"""Effective attention: attention without the part that cannot reach the output.

A_eff^h = A^h V^h (V^h)⁺. Weights that the value vectors cancel are removed; what a head sends on stays the same. With
no more tokens than d_head nothing is lost as a rule, and effective attention is attention.
"""

from __future__ import annotations

from typing import Literal

from contextmix.errors import UnsupportedModel
from contextmix.maths.effective import effective, effective_mean, value_space, with_ones
from contextmix.maths.effective_causal import causal_effective, first_seen
from contextmix.plugins.contracts import Measured, Method
from contextmix.plugins.papers import BRUNNER_2020
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace
from contextmix.traces.weights import refuse_channels, refuse_some_rows, weights_of


def measure(
    layer: LayerTrace, *, heads: Literal["mean", "each"] = "mean", rows: Literal["free", "sum"] = "free"
) -> Measured:
    """Effective attention of one layer.

    Args:
        layer: The recorded layer.
        heads: ``"mean"`` over heads, or ``"each"`` head by itself.
        rows: ``"free"``: everything that the values cancel is removed. ``"sum"``: only what also leaves the sum of the
            row as it is (the null space of [V, 1]).

    Returns:
        (..., query, key), or (..., head, query, key) for each head. Entries may be negative, and rows sum to anything
        (to what attention sums to with ``rows="sum"``). Noted: ``rank``, (..., head), of V or of [V, 1]; where it is
        the number of tokens, the head's map is its attention itself.

    Source:
        Brunner et al. (2020), on T = V W_O: the null spaces of T and V are the same, as W_O^h has full row rank. Sun
        & Marasović (2021) compare it with attention. Their code decides the rank by an absolute threshold, for all
        heads at once, on padded inputs; here: per head, relative to the largest singular value (max(n, d_head) · ε, ε
        the precision of the values), true tokens only. In a causal model each row is projected among the tokens that it
        sees.
    """
    refuse_channels(layer, "effective_attention", "has no weights from which to take the null space of the values")
    refuse_some_rows(layer, "effective_attention")
    if weights_of(layer).shape != layer.attention.shape:
        raise UnsupportedModel(
            f"Layer {layer.index}: its heads mix two kinds of values, so what the values of a head cancel is no matter "
            "of one map. No number was produced. Use attention, norm or value_zeroing."
        )
    value = layer.value if rows == "free" else with_ones(layer.value)
    space, first = value_space(value), None if layer.cross else first_seen(layer.attention)
    if first is not None:
        maps = causal_effective(layer.attention, value, first)
        values = maps if heads == "each" else maps.mean(-3)
    else:
        values = (effective if heads == "each" else effective_mean)(layer.attention, space)
    return Measured(values, {"rank": space.rank})


METHOD = Method(
    name="effective_attention",
    title="Effective attention",
    asks="attention",
    measure=measure,
    quantity=Quantity.SIGNED,
    formula="A_eff^h = A^h V^h (V^h)⁺, mean over heads",
    paper=BRUNNER_2020,
    cost="n²·d",
    decoder="attention",
)
