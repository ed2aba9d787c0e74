"""ALTI: how much nearer does what each token contributes bring a row to what it became?

c_ij = max(0, ‖y_i‖₁ − ‖y_i − T_i(x_j)‖₁), T_i(x_j) the vector that token j contributes to row i after attention,
residual and norm, y_i the row itself. Rows are then divided by their sums. A long vector that points elsewhere counts
nothing.
"""

from __future__ import annotations

from typing import Literal

from contextmix.maths.alti import l1_contributions, l2_contributions
from contextmix.maths.shares import row_shares
from contextmix.plugins.contracts import Measured, Method, QuantityBy
from contextmix.plugins.papers import FERRANDO_2022
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace


def measure(layer: LayerTrace, *, distance: Literal["l1", "l2"] = "l1", normalise: bool = True) -> Measured:
    """ALTI's contributions in one layer.

    Args:
        layer: The recorded layer.
        distance: Lengths of vectors: ``"l1"`` as published, or ``"l2"`` (the authors' "ours_l2"), which is cheaper.
        normalise: Divide each row by its sum.

    Returns:
        (..., query, key), shares; not normalised: ≥ 0, in units of the residual stream. Noted: ``zero_rows``, how many
        rows have no contribution at all, as every part takes the row further from its whole; they stay zero.

    Source:
        Ferrando et al. (2022), section 3. T and y are those of the norm after attention, with its true denominator (eps
        under the root); y has all biases. The authors' code adds 1e-6 to every component of a difference (torch's
        pairwise_distance), which is not done here. In a block without a norm after attention (pre-norm), T is the part
        of the residual stream and y the stream after attention, output bias included, as in ALTI-Logit.
    """
    contributions = _LENGTHS[distance](layer.mid_parts, layer.states.residual_mid)
    zero_rows = (contributions.sum(-1) == 0).sum(-1)
    return Measured(row_shares(contributions) if normalise else contributions, {"zero_rows": zero_rows})


_LENGTHS = {"l1": l1_contributions, "l2": l2_contributions}

METHOD = Method(
    name="alti",
    title="ALTI",
    measure=measure,
    quantity=QuantityBy("normalise", {False: Quantity.NORM}, otherwise=Quantity.SHARE),
    formula="c_ij = max(0, ‖y_i‖₁ − ‖y_i − T_i(x_j)‖₁), rows divided by their sums",
    paper=FERRANDO_2022,
    cost="n²·H·d",
    decoder="stream",
    by_rows=True,
)
