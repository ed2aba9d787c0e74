"""The local map of GlobEnc: norm-based attention for the whole encoder block, both norms included.

N_Enc,ij = ‖g₂(g₁(z⁺_{i←j}))‖₂. The feed-forward part enters through the denominator of the second norm alone.
"""

from __future__ import annotations

from torch import Tensor

from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace


def measure(layer: LayerTrace) -> Tensor:
    """Lengths of what each token contributes to the block's output.

    Returns:
        (..., query, key), ≥ 0, in units of the residual stream; not normalised.

    Source:
        GlobEnc, eq. 10 and 11, as the authors' code has it: biases are dropped, so the parts do not sum to the block's
        output. In a block without a norm after the feed-forward part (pre-norm) this is `norm_residual`.
    """
    return layer.out_parts.lengths()


def ratio(layer: LayerTrace) -> Tensor:
    """The mixing ratio of the whole block: Kobayashi et al. (2021), eq. 8, on GlobEnc's vectors, (..., query)."""
    return layer.out_parts.mixing_ratio()


METHOD = Method(
    name="norm_encoder",
    title="Norm-based, encoder block",
    measure=measure,
    ratio=ratio,
    quantity=Quantity.NORM,
    formula="N_Enc,ij = ‖LN₂(LN₁(z⁺_{i←j}))‖, denominators frozen",
    paper=MODARRESSI_2022,
    cost="n·d² + n²·H²",
    decoder="stream",
    by_rows=True,
)
