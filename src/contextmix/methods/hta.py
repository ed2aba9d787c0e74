"""Hidden token attribution: how strongly does each token's output react to a small change of each token's input?

c_ij = ‖∂y_i/∂x_j‖_F, the length of the d×d Jacobian of row i of a block's output with respect to row j of its input.
Exact: in closed form where the block allows (`maths.jacobian`: about n times less work), by backward passes elsewhere.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import BRUNNER_2020
from contextmix.results.token_map import Quantity
from contextmix.traces.sensitivity import to_block_input, to_embeddings
from contextmix.traces.trace import LayerTrace


def measure(layer: LayerTrace, *, span: Literal["layer", "embeddings"] = "layer") -> Tensor:
    """Lengths of the Jacobians of one layer.

    Args:
        layer: The recorded layer.
        span: With respect to the input of this ``"layer"``, or to the ``"embeddings"`` that entered the first one,
            through all layers between. That takes n·d backward passes, and is an attribution which no aggregation
            should follow.

    Returns:
        (..., query, key), ≥ 0, output per input; not normalised.

    Raises:
        UnsupportedModel: If the layer cannot be differentiated (a quantised model).

    Source:
        Brunner et al. (2020). They divide each row by its sum; GlobEnc's stored maps are undivided, as here, and ranks
        within a row are the same. Norms and softmax are differentiated too, unlike in the norm-based methods. Backward
        passes run in the model's own precision, so in bfloat16 they keep its three digits.
    """
    return to_block_input(layer) if span == "layer" else to_embeddings(layer)


METHOD = Method(
    name="hta",
    title="HTA",
    measure=measure,
    quantity=Quantity.GRADIENT,
    formula="c_ij = ‖∂y_i/∂x_j‖_F",
    paper=BRUNNER_2020,
    cost="9·n·d³ (post-norm encoders); elsewhere 12·n²·d³",
    needs="gradients, except for post-norm encoders",
)
