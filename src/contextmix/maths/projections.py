"""The linear maps that turn a block's input into queries, keys and values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from contextmix.maths.shapes import by_shapes


@dataclass(frozen=True)
class Affine:
    """x W + b.

    Attributes:
        weight: W, (d_model, head · d_head).
        bias: b, (head · d_head,) or None.
    """

    __repr__ = by_shapes

    weight: Tensor
    bias: Tensor | None

    def __call__(self, states: Tensor) -> Tensor:
        """(..., d_model) → (..., head · d_head)."""
        found = states @ self.weight
        return found if self.bias is None else found + self.bias

    def by_head(self, states: Tensor, n_heads: int) -> Tensor:
        """(..., query, d_model) → (..., head, query, d_head)."""
        return by_head(self(states), n_heads).transpose(-2, -3)


@dataclass(frozen=True)
class Projections:
    """What a block's input is multiplied by for each of the three."""

    __repr__ = by_shapes

    query: Affine
    key: Affine
    value: Affine


def by_head(tensor: Tensor, n_heads: int) -> Tensor:
    """(..., head · d_head) → (..., head, d_head)."""
    return tensor.reshape(*tensor.shape[:-1], n_heads, -1)
