"""Hidden token attribution times inputs: how much of each token's output changes in proportion to each token's input?

c_ij = ‖∂y_i/∂x_j ⊙ x_j‖_F: column k of the Jacobian times the k-th number of x_j, then the length. The reference that
GlobEnc compares its maps with, layer by layer. Exact, as `hta`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.results.token_map import Quantity
from contextmix.traces.sensitivity import to_block_input, to_embeddings
from contextmix.traces.trace import LayerTrace


def measure(layer: LayerTrace, *, span: Literal["layer", "embeddings"] = "layer") -> Tensor:
    """Lengths of the Jacobians of one layer, with the input axis scaled by the input.

    Args:
        layer: The recorded layer.
        span: With respect to the input of this ``"layer"``, or to the ``"embeddings"`` that entered the first one,
            through all layers between. That takes n·d backward passes, and is an attribution which no aggregation
            should follow.

    Returns:
        (..., query, key), ≥ 0, in units of the residual stream; not normalised.

    Raises:
        UnsupportedModel: If the layer cannot be differentiated (a quantised model).

    Source:
        GlobEnc, eq. 18. The product is taken on the input axis, before the length.
    """
    if span == "layer":
        return to_block_input(layer, layer.residual_in)
    return to_embeddings(layer, layer.embeddings)


METHOD = Method(
    name="hta_inputs",
    title="HTA × input",
    measure=measure,
    quantity=Quantity.GRADIENT,
    formula="c_ij = ‖∂y_i/∂x_j ⊙ x_j‖_F",
    paper=MODARRESSI_2022,
    cost="9·n·d³ (post-norm encoders); elsewhere 12·n²·d³",
    needs="gradients, except for post-norm encoders",
)
