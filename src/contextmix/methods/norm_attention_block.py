"""Norm-based attention for the whole attention block: attention, residual and the norm after it.

N_ResLN,ij = ‖g(z⁺_{i←j})‖₂, z⁺ the parts of `norm_residual`, g the norm with the denominator of the full row.
"""

from __future__ import annotations

from torch import Tensor

from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import KOBAYASHI_2021
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace


def measure(layer: LayerTrace) -> Tensor:
    """Lengths after the norm that follows attention.

    Returns:
        (..., query, key), ≥ 0, in units of the residual stream.

    Source:
        Kobayashi et al. (2021), eq. 6. The mean is that of each part, the variance that of the true full row (output
        bias included), with eps inside the square root as in the authors' code; β is dropped. In a block without a
        norm after attention (pre-norm) this is `norm_residual`.
    """
    return layer.mid_parts.lengths()


def ratio(layer: LayerTrace) -> Tensor:
    """AttnResLN-N of Kobayashi et al. (2021), (..., query)."""
    return layer.mid_parts.mixing_ratio()


METHOD = Method(
    name="norm_attention_block",
    title="Norm-based, attention block",
    measure=measure,
    ratio=ratio,
    quantity=Quantity.NORM,
    formula="N_ResLN,ij = ‖LN₁(z⁺_{i←j})‖, denominator frozen",
    paper=KOBAYASHI_2021,
    cost="n·d² + n²·H²",
    decoder="stream",
    by_rows=True,
)
