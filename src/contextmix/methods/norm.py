"""Norm-based attention: how long is the vector that token j sends to token i?

N_ij = ‖Σ_h α^h_ij f^h(x_j)‖₂ with f^h(x) = (x W_V^h + b_V^h) W_O^h. A large weight on a short vector counts little.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import KOBAYASHI_2020
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace


def measure(layer: LayerTrace, *, heads: Literal["sum", "each"] = "sum") -> Tensor:
    """Lengths of the vectors that attention moves.

    Args:
        layer: The recorded layer.
        heads: ``"sum"`` over heads before the length is taken (the method), or the length of ``"each"`` head's vector.

    Returns:
        (..., query, key), or (..., head, query, key) for each head; ≥ 0, in units of the residual stream.

    Source:
        Kobayashi et al. (2020), section 3. The value bias is inside f, the output bias is not.
    """
    parts = layer.attention_parts
    return parts.lengths_per_head() if heads == "each" else parts.lengths()


def ratio(layer: LayerTrace) -> Tensor:
    """Attn-N of Kobayashi et al. (2021), (..., query)."""
    return layer.attention_parts.mixing_ratio()


METHOD = Method(
    name="norm",
    title="Norm-based attention",
    measure=measure,
    ratio=ratio,
    quantity=Quantity.NORM,
    formula="N_ij = ‖Σ_h α^h_ij f^h(x_j)‖",
    paper=KOBAYASHI_2020,
    cost="n·d² + n²·H²",
    decoder="attention",
    by_rows=True,
)
