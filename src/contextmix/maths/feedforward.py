"""The feed-forward part of a block: two matrices with an activation between them, or three with a gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from contextmix.maths.projections import Affine
from contextmix.maths.shapes import by_shapes


@dataclass(frozen=True)
class FeedForward:
    """ffn(z) = activation(z W₁ + b₁) W₂ + b₂.

    Attributes:
        first: W₁, (d_model, d_ffn).
        first_bias: b₁, (d_ffn,) or None.
        activation: Element-wise.
        second: W₂, (d_ffn, d_model).
        second_bias: b₂, (d_model,) or None.
    """

    __repr__ = by_shapes

    first: Tensor
    first_bias: Tensor | None
    activation: Callable[[Tensor], Tensor]
    second: Tensor
    second_bias: Tensor | None

    def before_activation(self, states: Tensor) -> Tensor:
        """z W₁ + b₁, shape (..., d_ffn)."""
        found = states @ self.first
        return found if self.first_bias is None else found + self.first_bias

    def __call__(self, states: Tensor) -> Tensor:
        """The whole part, shape (..., d_model)."""
        found = self.activation(self.before_activation(states)) @ self.second
        return found if self.second_bias is None else found + self.second_bias


@dataclass(frozen=True)
class GatedFeedForward:
    """ffn(z) = (activation(z G + b_G) ⊙ (z U + b_U)) D + b_D: SwiGLU, GEGLU and their kin.

    Attributes:
        gate: G and b_G, (d_model, d_ffn).
        up: U and b_U, (d_model, d_ffn).
        activation: Element-wise.
        second: D and b_D, (d_ffn, d_model).

    Source:
        Shazeer (2020), "GLU variants improve Transformer".
    """

    __repr__ = by_shapes

    gate: Affine
    up: Affine
    activation: Callable[[Tensor], Tensor]
    second: Affine

    def __call__(self, states: Tensor) -> Tensor:
        """The whole part, shape (..., d_model)."""
        return self.second(self.activation(self.gate(states)) * self.up(states))
