"""The local map of GlobEnc with the feed-forward part inside: what each token contributes to the block's whole output.

‖LN₂(z̃_{i←j} + (θ_i ⊙ z̃_{i←j} W₁) W₂)‖₂, z̃ the parts of `norm_attention_block`, θ_i the slope of the line through
the origin that meets the activation in row i. Biases are dropped, as in `norm_encoder`. Its rollout is "GlobEnc + FFN".
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.errors import UnsupportedModel
from contextmix.maths.encoder_vectors import encoder_lengths, through_matrix
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.lines import zero_origin_slope
from contextmix.maths.norms import denominator, linear, normalise
from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import MODARRESSI_2023
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace
from contextmix.traces.weights import refuse_some_rows


def measure(layer: LayerTrace) -> Tensor:
    """Lengths of what each token contributes to the block's output, through the feed-forward part too.

    Returns:
        (..., query, key), ≥ 0, in units of the residual stream; not normalised.

    Raises:
        UnsupportedModel: If the sub-layers run in parallel, or the feed-forward part is not two matrices with an
            activation between them that is zero at zero.

    Source:
        DecompX (Modarressi et al. 2023), a baseline of its tables, as the authors' notebook runs it: the slopes are
        those of the true activations (b₁ included), the parts have neither b₁ nor b₂. Other norms around the
        feed-forward part are passed with their true denominators.
    """
    if layer.attention.ndim == 4:
        return torch.stack([measure(layer[row]) for row in range(len(layer.attention))])
    refuse_some_rows(layer, "norm_encoder_ffn")
    ffn, norms, states = _feed_forward(layer), layer.block.ffn, layer.states
    read = states.residual_mid if norms.norm_in is None else normalise(states.residual_mid, norms.norm_in)
    slopes, matrix = zero_origin_slope(ffn.activation, ffn.before_activation(read)), ffn.second
    for norm, full, scale in ((norms.norm_out, layer.ffn_out, norms.scale), (norms.norm_after, states.ffn_sum, 1.0)):
        if norm is not None:
            slopes, matrix = slopes / denominator(full, norm), linear(matrix, norm)
        matrix = matrix * scale
    inner = through_matrix(layer.mid_parts.through(norms.norm_in, states.residual_mid), ffn.first)
    return encoder_lengths(layer.out_parts, inner, slopes, matrix)


def _feed_forward(layer: LayerTrace) -> FeedForward:
    ffn = layer.block.feed_forward
    plain = isinstance(ffn, FeedForward) and float(ffn.activation(ffn.first.new_zeros(1))) == 0
    if layer.block.parallel or layer.ffn_added is not None or not isinstance(ffn, FeedForward) or not plain:
        raise UnsupportedModel(
            f"Layer {layer.index}: norm_encoder_ffn needs a feed-forward part that reads the result of attention, of "
            "two matrices with an activation between them that is zero at zero (no gate, no experts), and nothing else "
            "that is added after attention. No number was produced. norm_encoder leaves the feed-forward part out."
        )
    return ffn


METHOD = Method(
    name="norm_encoder_ffn",
    title="Norm-based, encoder block with feed-forward",
    measure=measure,
    quantity=Quantity.NORM,
    formula="‖LN₂(z̃_{i←j} + (θ_i ⊙ z̃_{i←j} W₁) W₂)‖, denominators frozen",
    paper=MODARRESSI_2023,
    cost="n²·d·d_ffn: about n/3 forward passes for all layers",
)
