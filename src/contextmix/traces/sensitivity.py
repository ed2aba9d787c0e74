"""How strongly each row of a block's output answers to each row of its input, or of the embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.maths.backward import backward_lengths
from contextmix.maths.differences import largest_error
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.jacobian import SerialBlock, jacobian_lengths
from contextmix.traces.trace import LayerTrace, Replay


def to_block_input(layer: LayerTrace, weights: Tensor | None = None) -> Tensor:
    """‖∂y_i/∂x_j ⊙ weights_j‖_F, with y the block's output and x its input.

    In closed form (`maths.jacobian`) where the block is of the kind that it covers and the recorded tensors prove it;
    elsewhere by n·d backward passes through the block.

    Args:
        layer: The recorded layer.
        weights: (..., key, d_model): what the input axis of each Jacobian is multiplied by; None for ones.

    Returns:
        (..., query, key), ≥ 0.

    Raises:
        UnsupportedModel: If the closed form does not cover the block and it cannot be run again.
        TraceDoesNotAddUp: If running it again gives another output.
    """
    batched = layer.attention.ndim == 4
    rows = [layer[row] for row in range(len(layer.attention))] if batched else [layer]
    blocks = [block for row in rows if (block := serial_block(row)) is not None]
    if len(blocks) < len(rows):
        return _backward(layer, layer.replay, layer.residual_in, weights)
    scales = [weights] if weights is None or not batched else weights.unbind(0)
    scales = scales * len(rows) if weights is None else scales
    found = [jacobian_lengths(block, scale) for block, scale in zip(blocks, scales, strict=True)]
    return torch.stack(found) if batched else found[0]


def to_embeddings(layer: LayerTrace, weights: Tensor | None = None) -> Tensor:
    """‖∂y_i/∂e_j ⊙ weights_j‖_F, with e what entered the first block.

    By n·d backward passes through all blocks up to this one.

    Args:
        layer: The recorded layer.
        weights: (..., key, d_model): what the input axis of each Jacobian is multiplied by; None for ones.

    Returns:
        (..., query, key), ≥ 0.

    Raises:
        UnsupportedModel: If the blocks cannot be run again.
        TraceDoesNotAddUp: If running them again gives another output.
    """
    return _backward(layer, layer.replay_from_embeddings, layer.embeddings, weights)


def serial_block(layer: LayerTrace) -> SerialBlock | None:
    """One sequence's block as the closed form needs it, if it is put together so and its recorded tensors prove it."""
    block, scores, ffn, states = layer.block, layer.scores, layer.block.feed_forward, layer.states
    norms = (block.attention.norm_in, block.attention.norm_out, block.ffn.norm_in, block.ffn.norm_out)
    if block.parallel or any(norms) or not layer.plain or layer.gate is not None:
        return None
    if scores is None or block.projections is None:
        return None
    if not isinstance(ffn, FeedForward) or scores.key.shape != scores.query.shape:
        return None
    found = SerialBlock(
        states=layer.residual_in,
        query=scores.query.to(layer.value.dtype),
        key=scores.key.to(layer.value.dtype),
        value=layer.value,
        attention=layer.attention,
        scaling=scores.scaling,
        projections=block.projections,
        output_weight=block.output_weight * block.attention.scale,
        attention_sum=states.attention_sum,
        norm_after=block.attention.norm_after,
        residual_mid=states.residual_mid,
        ffn=ffn,
        ffn_out=layer.ffn_out,
        ffn_scale=block.ffn.scale,
        ffn_sum=states.ffn_sum,
        norm_last=block.ffn.norm_after,
    )
    return found if found.error() <= layer.tolerance else None


def _backward(layer: LayerTrace, replay: Replay | None, states: Tensor | None, weights: Tensor | None) -> Tensor:
    if replay is None or states is None:
        raise UnsupportedModel(
            f"Layer {layer.index} was recorded without a way to run it again, and the closed form of its derivatives "
            "does not cover it. Trace it with contextmix.load(…).trace; a block that carries several streams of each "
            "token has no such derivatives."
        )
    error = float(largest_error(replay(states).detach(), layer.residual_out))
    if not error <= layer.tolerance:
        raise TraceDoesNotAddUp(
            f"Layer {layer.index}: run again on the same states, it gives an output that differs by {error:.1e} "
            f"(relative; allowed {layer.tolerance:.0e}), so its derivatives would be those of another function."
        )
    return backward_lengths(replay, states, weights, 16 * states.numel() + 4 * layer.attention.numel())
