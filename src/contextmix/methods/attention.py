"""Attention weights, averaged over heads: how much of each token's value a token asks for.

W_ij = (1/H) Σ_h α^h_ij. What most pictures of attention show. It knows neither how long the value vectors are, nor the
residual connection, nor the norms.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from contextmix.maths.bounds import within
from contextmix.maths.shares import whole_rows
from contextmix.plugins.contracts import Method
from contextmix.plugins.papers import VASWANI_2017
from contextmix.results.token_map import Quantity
from contextmix.traces.trace import LayerTrace
from contextmix.traces.weights import refuse_channels, weights_of


def measure(layer: LayerTrace, *, heads: Literal["mean", "each"] = "mean") -> Tensor:
    """Attention weights of one layer.

    Args:
        layer: The recorded layer.
        heads: ``"mean"`` over heads, or ``"each"`` head by itself.

    Returns:
        (..., query, key), or (..., head, query, key) for each head. Rows sum to one (less with attention sinks), also
        of a model in half precision, see `whole_rows`.

    Source:
        Vaswani et al. (2017), eq. 1; GlobEnc calls the mean W.
    """
    refuse_channels(layer, "attention", "would not be shares of anything")
    shares = whole_rows(weights_of(layer))
    return shares if heads == "each" else shares.mean(-3)


def ratio(layer: LayerTrace) -> Tensor:
    """Attn-W of Kobayashi et al. (2021): the share of attention that goes to other tokens, (..., query).

    In cross-attention these are all tokens; their weights add up to one but for the rounding of the softmax, of the
    mean over heads and of the sum.
    """
    shares = measure(layer)
    if not layer.cross:
        return 1 - shares.diagonal(layer.first, dim1=-2, dim2=-1)
    n_heads, n_keys = layer.attention.shape[-3], layer.attention.shape[-1]
    return within(shares.sum(-1), 0, 1, (2 * n_keys + n_heads) * torch.finfo(shares.dtype).eps)


METHOD = Method(
    name="attention",
    title="Attention weights",
    asks="attention",
    measure=measure,
    ratio=ratio,
    quantity=Quantity.SHARE,
    formula="W = (1/H) Σ_h α^h",
    paper=VASWANI_2017,
    cost="n²·H",
    decoder="attention",
    by_rows=True,
)
