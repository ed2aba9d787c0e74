"""The feed-forward part of a block as two matrices with an activation between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


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
