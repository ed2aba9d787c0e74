"""What follows the self-attention of a decoder block in an encoder–decoder, as changes are pushed through it."""

from __future__ import annotations

from torch import Tensor

from contextmix.maths.cross_attention import CrossAttention
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.zeroing_steps import Addition, Step, feed_forward_answer
from contextmix.traces.trace import LayerTrace


def attention_addition(layer: LayerTrace) -> Addition:
    """How the attention output of a layer enters the residual stream; one sequence."""
    norms = layer.block.attention
    return Addition(layer.attention_out, norms.norm_out, norms.scale, layer.states.attention_sum, norms.norm_after)


def following_steps(cross: LayerTrace) -> tuple[list[Step], int] | None:
    """Cross-attention and the feed-forward part of a decoder block, and the most numbers that one of their rows needs.

    Args:
        cross: The second step of the block, one sequence.

    Returns:
        None if one of the two cannot be computed again from what was recorded: a feed-forward part that is no chain of
        modules, or cross-attention whose weights are not the softmax of the scores of linear queries.
    """
    attention = _cross_attention(cross)
    block, states, ffn = cross.block, cross.states, cross.block.feed_forward
    if ffn is None or attention is None:
        return None
    read = _read(states.residual_mid, block.ffn.norm_in)
    norms = block.ffn
    addition = Addition(cross.ffn_out, norms.norm_out, norms.scale, states.ffn_sum, norms.norm_after)
    steps = [
        Step(cross.residual_in, block.attention.norm_in, attention.change, attention_addition(cross)),
        Step(states.residual_mid, norms.norm_in, feed_forward_answer(ffn, read), addition),
    ]
    inner = ffn.first.shape[-1] if isinstance(ffn, FeedForward) else 4 * read.shape[-1]
    return steps, max(inner, cross.attention.shape[-3] * cross.attention.shape[-1])


def _cross_attention(layer: LayerTrace) -> CrossAttention | None:
    """The cross-attention as a function, if what was recorded proves it."""
    if layer.block.query is None or layer.scores is None:
        return None
    key = layer.scores.key.to(layer.value.dtype)
    found = CrossAttention(
        query=layer.block.query,
        key=key.repeat_interleave(len(layer.value) // len(key), dim=0),
        value=layer.value,
        weight=layer.block.output_weight,
        attention=layer.attention,
        scaling=layer.scores.scaling,
    )
    error = found.error(_read(layer.residual_in, layer.block.attention.norm_in))
    return found if error <= layer.tolerance else None


def _read(stream: Tensor, norm: Norm | None) -> Tensor:
    return stream if norm is None else normalise(stream, norm)
