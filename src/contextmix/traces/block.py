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
from contextmix.maths.pushed import Pushed
from contextmix.maths.shapes import by_shapes


@dataclass(frozen=True)
class SublayerNorms:
    """The norms and the scale of one sub-layer with their parameters; see `Sublayer`."""

    __repr__ = by_shapes

    norm_in: Norm | None = None
    norm_out: Norm | None = None
    norm_after: Norm | None = None
    scale: float | Tensor = 1.0
    keep: float | Tensor = 1.0
    normed: bool = False
    shift: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether the sub-layer adds to the residual stream as it is, and nothing but its contribution."""
        return isinstance(self.keep, float) and self.keep == 1.0 and not self.normed and self.shift is None

    def passed(self, stream: Tensor) -> Tensor:
        """What is left of the residual stream (..., d_model) in front of the sub-layer, where it is added to."""
        stream = _apply(self.norm_in, stream) if self.normed else stream
        return stream if isinstance(self.keep, float) and self.keep == 1.0 else stream * self.keep

    def contribution(self, raw: Tensor) -> Tensor:
        """What the sub-layer adds to the residual stream, from its raw output (..., d_model)."""
        found = _apply(self.norm_out, raw) * self.scale
        return found if self.shift is None else found + self.shift


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
        kinds: How many kinds of values each head has, such as those of global tokens beside those of a window. All
            heads stand that many times in `output_weight`, one kind after the other.
        gated: Gives the feed-forward part as three matrices, where it is gated. Both are made when asked for: most
            methods never ask, and they may be copies.
        pushed: Keeps the output projection pushed through the norms from one run to the next.
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
    kinds: int = 1
    pushed: Pushed | None = None

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
        attention_added: What further modules add where attention is; None for nothing.
        ffn_added: The same where the feed-forward part is.
    """

    __repr__ = by_shapes

    block: Block
    residual_in: Tensor
    attention_out: Tensor
    ffn_out: Tensor
    attention_added: Tensor | None = None
    ffn_added: Tensor | None = None

    @kept
    def own(self) -> Tensor:
        """What the row's own token brings to the sum after attention: the residual, and what is added beside it."""
        return _plus(self.block.attention.passed(self.residual_in), self.attention_added)

    @kept
    def attention_sum(self) -> Tensor:
        """x plus what attention adds: the true input of the norm after attention."""
        return self.own + self.block.attention.contribution(self.attention_out)

    @kept
    def residual_mid(self) -> Tensor:
        """h, the residual stream between the sub-layers."""
        return _apply(self.block.attention.norm_after, self.attention_sum)

    @kept
    def ffn_sum(self) -> Tensor:
        """h plus what the feed-forward part adds: the true input of the norm after it."""
        kept = self.block.ffn.passed(self.residual_mid)
        return _plus(kept + self.block.ffn.contribution(self.ffn_out), self.ffn_added)

    @kept
    def residual_out(self) -> Tensor:
        """y, the block's output rebuilt from its parts."""
        return _apply(self.block.ffn.norm_after, self.ffn_sum)


def _plus(total: Tensor, added: Tensor | None) -> Tensor:
    return total if added is None else total + added


def _apply(norm: Norm | None, total: Tensor) -> Tensor:
    """The norm where there is one. LayerNorm takes torch's fused kernel; the formula is `maths.norms.normalise`."""
    if norm is None:
        return total
    if norm.kind == "layer":
        return torch.nn.functional.layer_norm(total, total.shape[-1:], norm.weight, norm.bias, norm.eps)
    return normalise(total, norm)
