"""Cross-attention as a function of what asks: how its output answers to a change of its queries.

The keys and values come from another sequence and stay. Whatever is added to the scores (masks, biases) stays too, so
it need not be known: with δ the change of the scores, the new weights are the old ones times exp(δ), divided by their
sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from contextmix.maths.projections import Affine

LARGEST_EXPONENT = 60.0
"""Above it exp() comes near the limit of float32, and the change is no small one."""


@dataclass(frozen=True)
class CrossAttention:
    """One cross-attention of one sequence, as recorded.

    Attributes:
        query: The linear map from the (normed) residual stream to queries.
        key: (head, key, d_head), grouped keys repeated.
        value: (head, key, d_head).
        weight: (head, d_head, d_model): the output projection.
        attention: (head, query, key): softmax over keys of scaling · query · key, plus what does not depend on queries.
        scaling: Factor of the products.
    """

    query: Affine
    key: Tensor
    value: Tensor
    weight: Tensor
    attention: Tensor
    scaling: float

    def change(self, read: Tensor) -> Tensor:
        """From a change of what it reads to the change of its output, both (..., query, d_model)."""
        n_heads = len(self.attention)
        asked = Affine(self.query.weight, None).by_head(read, n_heads)  # (..., head, query, d_head)
        moved = self._weights(self.scaling * asked @ self.key.mT) @ self.value
        return moved.transpose(-2, -3).flatten(-2) @ self.weight.flatten(0, 1)

    def _weights(self, grown: Tensor) -> Tensor:
        """The change of the weights for a change of the scores, (..., head, query, key).

            α′ − α = α (e − Σ α e) / (1 + Σ α e),   e = exp(δ) − 1

        A constant per row cancels out. With that which makes Σ α δ zero, Σ α e is not negative (Jensen).
        """
        grown = grown - (self.attention * grown).sum(-1, keepdim=True)
        if bool(grown.amax() > LARGEST_EXPONENT):
            return (self.attention.log() + grown).softmax(-1) - self.attention
        moved = torch.expm1(grown)
        mean = (self.attention * moved).sum(-1, keepdim=True)
        return self.attention * (moved - mean) / (1 + mean)

    def error(self, read: Tensor) -> float:
        """How far queries made here, and the softmax of their scores, are from the recorded ones.

        Args:
            read: (query, d_model): the clean input.

        Returns:
            The largest difference of a weight; tokens without any weight count as masked.
        """
        asked = self.query.by_head(read, len(self.attention))
        scores = self.scaling * asked @ self.key.mT
        found = scores.masked_fill(self.attention == 0, -torch.inf).softmax(-1)
        return float((found - self.attention).abs().max())
