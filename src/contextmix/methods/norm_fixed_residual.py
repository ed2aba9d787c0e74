"""Norm-based attention as shares, with the residual connection counted as one half.

N_FixedRes = ½ N̂ + ½ I, N̂_ij = N_ij / Σ_k N_ik: the only norm map that GlobEnc normalises by row.
"""

from __future__ import annotations

from torch import Tensor

from contextmix.maths.shares import half_residual, row_shares
from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace


def measure(layer: LayerTrace) -> Tensor:
    """½ N̂ + ½ I for one layer.

    Returns:
        (..., query, key), shares: rows sum to one.

    Source:
        GlobEnc, eq. 16.
    """
    return half_residual(row_shares(layer.attention_parts.lengths()), apart=layer.cross, first=layer.first)


METHOD = Method(
    name="norm_fixed_residual",
    title="Norm-based with half residual",
    measure=measure,
    quantity=Quantity.SHARE,
    formula="N_FixedRes = ½ N̂ + ½ I, rows of N̂ sum to one",
    paper=MODARRESSI_2022,
    cost="n·d² + n²·H²",
    decoder="stream",
    by_rows=True,
)
