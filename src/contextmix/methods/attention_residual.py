"""Attention weights with the residual at its measured size.

Off the diagonal, attention shared out to the mixing ratio r of the whole encoder block (`norm_encoder`); on it, 1 − r.
"""

from __future__ import annotations

from torch import Tensor

from contextmix.maths.shares import measured_residual
from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace
from contextmix.traces.weights import refuse_channels, weights_of


def measure(layer: LayerTrace) -> Tensor:
    """W_Res for one layer.

    Returns:
        (..., query, key), shares: rows sum to one.

    Source:
        GlobEnc, eq. 14 and 15, with the mixing ratio of N_Enc as the text and the authors' code have it (Kobayashi et
        al. 2021, eq. 8, is the same formula on the attention block).
    """
    refuse_channels(layer, "attention_residual", "would not be shares of anything")
    return measured_residual(weights_of(layer).mean(-3), ratio(layer), apart=layer.cross, first=layer.first)


def ratio(layer: LayerTrace) -> Tensor:
    """The mixing ratio of the whole encoder block, (..., query)."""
    return layer.out_parts.mixing_ratio()


METHOD = Method(
    name="attention_residual",
    title="Attention with measured residual",
    asks="attention",
    measure=measure,
    ratio=ratio,
    quantity=Quantity.SHARE,
    formula="W_Res: r_i · W_ij / Σ_{k≠i} W_ik off the diagonal, 1 − r_i on it",
    paper=MODARRESSI_2022,
    cost="n·d² + n²·H",
    decoder="stream",
    by_rows=True,
)
