"""A recorded block as DecompX reads it: the norms around each sub-layer folded into its matrices, or why that fails.

    linear(u) W = u (C γ W) for a norm in front,   linear(u W) = u (W C γ) for a norm on the output

where C subtracts the mean (LayerNorm) or does nothing (RMSNorm). The denominators are one number per row of the true
states. The bias of a norm in front joins that of the matrix behind it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.maths.feedforward import FeedForward, GatedFeedForward
from contextmix.maths.norms import Norm, denominator, linear, normalise
from contextmix.maths.projections import Affine
from contextmix.maths.split_block import NormAfter, SplitAttention, SplitBlock, SplitFeedForward
from contextmix.traces.block import SublayerNorms
from contextmix.traces.trace import LayerTrace


def split_block(layer: LayerTrace) -> SplitBlock:
    """How a block acts on parts of its rows.

    Args:
        layer: One sequence; `obstacle` must be None for it.
    """
    return SplitBlock(_attention(layer), _feed_forward(layer), layer.block.parallel)


def obstacle(layer: LayerTrace) -> str | None:
    """What keeps a block from being split by token; None if nothing does."""
    if not layer.plain:
        return "more is added to its stream than attention and a feed-forward part, or a factor or norm lies on it"
    if value_map(layer) is None:
        return "its values are no linear map of its input"
    if feed_forward(layer) is None:
        return "its feed-forward part is neither two matrices with an activation between them nor gated (experts?)"
    return None


def value_map(layer: LayerTrace) -> Affine | None:
    """What makes the values, (d_model, head · d_head), or None if no linear map does."""
    block = layer.block
    found = block.value() if block.value else block.projections.value if block.projections else None
    fits = found is not None and found.weight.shape[-1] == block.output_weight[..., 0].numel()
    return found if fits else None


def feed_forward(layer: LayerTrace) -> FeedForward | GatedFeedForward | None:
    """The feed-forward part as matrices, or None if it is something else."""
    block = layer.block
    return block.gated() if block.gated else block.feed_forward if isinstance(block.feed_forward, FeedForward) else None


def _attention(layer: LayerTrace) -> SplitAttention:
    block, norms, states = layer.block, layer.block.attention, layer.states
    value, (weights, gate) = value_map(layer), layer.mixing
    assert value is not None
    value = behind_norm(value, norms.norm_in)
    if norms.norm_in is not None:
        weights = weights / denominator(layer.residual_in, norms.norm_in).mT
    bias = _attention_bias(layer, value.bias)
    if norms.norm_out is not None:
        inverse = denominator(layer.attention_out, norms.norm_out).reciprocal()
        weights = weights * inverse
        bias = None if bias is None else linear(bias, norms.norm_out) * inverse
        bias = _sum(bias, norms.norm_out.bias)
    return SplitAttention(
        attention=weights,
        value_weight=value.weight,
        output_weight=_before_norm(block.output_weight, norms),
        bias=None if bias is None else bias * norms.scale,
        after=_after(norms.norm_after, states.attention_sum),
        gate=None if gate is None else gate.transpose(0, 1).flatten(1),
    )


def _attention_bias(layer: LayerTrace, value_bias: Tensor | None) -> Tensor | None:
    """The output bias, and from the second layer on what the value bias adds.

    In the first layer it is inside the values. Rows of attention sum to one, except where a sink takes a share or
    something multiplies the heads' output.
    """
    block = layer.block
    if value_bias is None or layer.index == 0:
        return block.output_bias
    weights, gate = layer.mixing
    sums = weights.sum(-1)  # (head, query)
    if gate is not None:
        mixed = sums.unsqueeze(-1) * value_bias.view(len(gate), 1, -1) * gate  # (head, query, d_head)
        return _sum(torch.einsum("hic,hcd->id", mixed, block.output_weight), block.output_bias)
    if bool((sums - 1).abs().max() <= 64 * torch.finfo(sums.dtype).eps):
        return _sum(value_bias @ block.output_weight.flatten(0, 1), block.output_bias)
    n_heads, d_head, _ = block.output_weight.shape
    pushed = torch.einsum("hc,hcd->hd", value_bias.view(n_heads, d_head), block.output_weight)
    return _sum(sums.T @ pushed, block.output_bias)


def _feed_forward(layer: LayerTrace) -> SplitFeedForward:
    norms, states, ffn = layer.block.ffn, layer.states, feed_forward(layer)
    assert ffn is not None
    entered = layer.residual_in if layer.block.parallel else states.residual_mid
    read = entered if norms.norm_in is None else normalise(entered, norms.norm_in)
    first, up, second = _matrices(ffn)
    norm_out = norms.norm_out
    return SplitFeedForward(
        first=behind_norm(first, norms.norm_in),
        activation=ffn.activation,
        before=first(read),
        second=Affine(
            _before_norm(second.weight, norms), None if second.bias is None else _before_norm(second.bias, norms)
        ),
        up=None if up is None else behind_norm(up, norms.norm_in),
        factor=None if up is None else up(read),
        read=None if norms.norm_in is None else denominator(entered, norms.norm_in).reciprocal(),
        write=None if norm_out is None else denominator(layer.ffn_out, norm_out).reciprocal(),
        shift=None if norm_out is None or norm_out.bias is None else norm_out.bias * norms.scale,
        after=_after(norms.norm_after, states.ffn_sum),
    )


def _matrices(ffn: FeedForward | GatedFeedForward) -> tuple[Affine, Affine | None, Affine]:
    """What the activation reads, the other factor of a gate, and the last matrix."""
    if isinstance(ffn, GatedFeedForward):
        return ffn.gate, ffn.up, ffn.second
    return Affine(ffn.first, ffn.first_bias), None, Affine(ffn.second, ffn.second_bias)


def behind_norm(affine: Affine, norm: Norm | None) -> Affine:
    """A linear map that reads what a norm writes, as a map of the norm's input over its denominator."""
    if norm is None:
        return affine
    bias = _sum(None if norm.bias is None else norm.bias @ affine.weight, affine.bias)
    weight = affine.weight if norm.weight is None else norm.weight.unsqueeze(-1) * affine.weight
    return Affine(weight - weight.mean(0) if norm.kind == "layer" else weight, bias)


def _before_norm(rows: Tensor, norms: SublayerNorms) -> Tensor:
    """Rows (..., d_model) that a norm reads and a scale multiplies, without the norm's denominator and bias."""
    found = rows if norms.norm_out is None else linear(rows, norms.norm_out)
    return found if isinstance(norms.scale, float) and norms.scale == 1 else found * norms.scale


def _after(norm: Norm | None, total: Tensor) -> NormAfter | None:
    return None if norm is None else NormAfter(norm, total)


def _sum(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    return right if left is None else left if right is None else left + right
