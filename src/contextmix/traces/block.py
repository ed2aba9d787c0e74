"""One block with its parameters, and the block equation on what was recorded of it; see `contextmix.traces.anatomy`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from contextmix.maths.feedforward import FeedForward, GatedFeedForward
from contextmix.maths.kept import kept
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.projections import Affine, Projections
from contextmix.maths.shapes import by_shapes


@dataclass(frozen=True)
class SublayerNorms:
    """The norms and the scale of one sub-layer with their parameters; see `Sublayer`."""

    __repr__ = by_shapes

    norm_in: Norm | None = None
    norm_out: Norm | None = None
    norm_after: Norm | None = None
    scale: float | Tensor = 1.0

    def contribution(self, raw: Tensor) -> Tensor:
        """What the sub-layer adds to the residual stream, from its raw output (..., d_model)."""
        return _apply(self.norm_out, raw) * self.scale


@dataclass(frozen=True)
class Block:
    """One block with its parameters.

    Attributes:
        output_weight: (head, d_head, d_model): the output projection cut by head.
        output_bias: (d_model,), or (..., query, d_model) where each row has its own, or None.
        attention: Norms and scale around attention.
        ffn: Norms and scale around the feed-forward part.
        parallel: Whether both sub-layers read the block's input.
        feed_forward: The feed-forward part as two matrices, or as a function; None if it is neither.
        projections: What turns the block's (normed) input into queries, keys and values, where three linear maps do.
        query: Of cross-attention: what turns the (normed) input into queries, where one linear map does.
        value: Gives what turns it into values, (d_model, head · d_head), grouped heads repeated, if a linear map does.
        gated: Gives the feed-forward part as three matrices, where it is gated. Both are made when asked for: most
            methods never ask, and they may be copies.
    """

    __repr__ = by_shapes

    output_weight: Tensor
    output_bias: Tensor | None
    attention: SublayerNorms
    ffn: SublayerNorms
    parallel: bool = False
    feed_forward: FeedForward | Callable[[Tensor], Tensor] | None = None
    projections: Projections | None = None
    query: Affine | None = None
    value: Callable[[], Affine] | None = None
    gated: Callable[[], GatedFeedForward] | None = None

    def of(self, example: int) -> Block:
        """The block of one sequence of a batch."""
        own = self.output_bias
        return self if own is None or own.ndim < 3 else replace(self, output_bias=own[example])


@dataclass(frozen=True)
class BlockStates:
    """The block equation, evaluated step by step on the recorded contributions; all (..., query, d_model).

    Attributes:
        block: The block's parameters.
        residual_in: x, the block's input.
        attention_out: The raw output of attention, with the output bias.
        ffn_out: The raw output of the feed-forward part.
    """

    __repr__ = by_shapes

    block: Block
    residual_in: Tensor
    attention_out: Tensor
    ffn_out: Tensor

    @kept
    def attention_sum(self) -> Tensor:
        """x plus what attention adds: the true input of the norm after attention."""
        return self.residual_in + self.block.attention.contribution(self.attention_out)

    @kept
    def residual_mid(self) -> Tensor:
        """h, the residual stream between the sub-layers."""
        return _apply(self.block.attention.norm_after, self.attention_sum)

    @kept
    def ffn_sum(self) -> Tensor:
        """h plus what the feed-forward part adds: the true input of the norm after it."""
        return self.residual_mid + self.block.ffn.contribution(self.ffn_out)

    @kept
    def residual_out(self) -> Tensor:
        """y, the block's output rebuilt from its parts."""
        return _apply(self.block.ffn.norm_after, self.ffn_sum)


def _apply(norm: Norm | None, total: Tensor) -> Tensor:
    """The norm where there is one. LayerNorm takes torch's fused kernel; the formula is `maths.norms.normalise`."""
    if norm is None:
        return total
    if norm.kind == "layer":
        return torch.nn.functional.layer_norm(total, total.shape[-1:], norm.weight, norm.bias, norm.eps)
    return normalise(total, norm)
