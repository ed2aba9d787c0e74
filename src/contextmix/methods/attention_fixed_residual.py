"""Attention weights with the residual connection counted as one half.

W_FixedRes = ½ W + ½ I: the map that attention rollout multiplies.
"""

from __future__ import annotations

from torch import Tensor

from contextmix.maths.shares import half_residual, whole_rows
from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import ABNAR_2020
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace
from contextmix.traces.weights import refuse_channels, weights_of


def measure(layer: LayerTrace) -> Tensor:
    """½ W + ½ I for one layer.

    Returns:
        (..., query, key), shares: rows sum to one.

    Source:
        Abnar & Zuidema (2020), section 3; GlobEnc, eq. 13.
    """
    refuse_channels(layer, "attention_fixed_residual", "would not be shares of anything")
    return half_residual(whole_rows(weights_of(layer)).mean(-3), apart=layer.cross, first=layer.first)


def ratio(layer: LayerTrace) -> Tensor:
    """AttnRes-W of Kobayashi et al. (2021): half of what attention gives to other tokens, (..., query)."""
    shares = measure(layer)
    return 1 - (shares[..., -1] if layer.cross else shares.diagonal(layer.first, dim1=-2, dim2=-1))


METHOD = Method(
    name="attention_fixed_residual",
    title="Attention with half residual",
    asks="attention",
    measure=measure,
    ratio=ratio,
    quantity=Quantity.SHARE,
    formula="W_FixedRes = ½ W + ½ I",
    paper=ABNAR_2020,
    cost="n²·H",
    decoder="stream",
    by_rows=True,
)
