"""Norm-based attention with the residual: lengths of what each token adds to the residual stream.

N_Res,ij = ‖Σ_h α^h_ij f^h(x_j) + 1[i = j] x_i‖₂.
"""

from __future__ import annotations

from torch import Tensor

from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import KOBAYASHI_2021
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace


def measure(layer: LayerTrace) -> Tensor:
    """Lengths after the residual connection around attention.

    Returns:
        (..., query, key), ≥ 0, in units of the residual stream.

    Source:
        Kobayashi et al. (2021), section 3. Where a block puts a norm on the attention output before the addition, or
        scales it, the parts pass it with its denominator frozen.
    """
    return layer.residual_parts.lengths()


def ratio(layer: LayerTrace) -> Tensor:
    """AttnRes-N of Kobayashi et al. (2021), (..., query)."""
    return layer.residual_parts.mixing_ratio()


METHOD = Method(
    name="norm_residual",
    title="Norm-based with residual",
    measure=measure,
    ratio=ratio,
    quantity=Quantity.NORM,
    formula="N_Res,ij = ‖Σ_h α^h_ij f^h(x_j) + 1[i=j] x_i‖",
    paper=KOBAYASHI_2021,
    cost="n·d² + n²·H²",
    decoder="stream",
    by_rows=True,
)
