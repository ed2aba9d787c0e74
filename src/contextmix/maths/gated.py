"""Attention behind a gate: what stands between the heads and the output projection, one number per row and channel.

    u[i, j] = Σ_h (gate[h, i] ⊙ attention[h, i, j] · value[h, j]) @ weight[h]

A gate that is one number per row and head is part of the weights (`folded`). One that differs between channels keeps
what a token sends from being made once for all rows: the vectors are built pair by pair, n²·H·d_head·d_model
multiplications for pairs in sight of each other, a few rows at a time. Along a direction no vector is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from contextmix.maths.shapes import by_shapes

PAIR_ELEMENTS = 1 << 21
"""Numbers of pairs of tokens that are worked on at a time: 8 MiB in float32."""


def folded(attention: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Weights (..., head, query, key) with all of a gate that can be part of them, and what is left of the gate.

    Args:
        attention: (..., head, query, key).
        gate: (..., head, query, d_head), or (..., head, query, 1) where it is one number per row and head; None for
            ones.

    Example:
        >>> weights, rest = folded(torch.ones(1, 1, 2), torch.tensor([[[0.5]]]))
        >>> weights, rest
        (tensor([[[0.5000, 0.5000]]]), None)
    """
    if gate is None or gate.shape[-1] > 1:
        return attention, gate
    return attention * gate, None


@dataclass(frozen=True)
class GatedHeads:
    """Heads of one sequence whose output passes a gate and a projection.

    Attributes:
        attention: (head, query, key).
        value: (head, key, d_head).
        gate: (head, query, d_head).
        weight: (head, d_head, d_model).
    """

    __repr__ = by_shapes

    attention: Tensor
    value: Tensor
    gate: Tensor
    weight: Tensor

    def vectors(self, keys: slice, queries: slice) -> Tensor:
        """u[i, j] for some tokens and rows, (key, query, d_model)."""
        weights = self.attention[:, queries, keys].permute(2, 1, 0).unsqueeze(-1)  # (key, query, head, 1)
        sent = weights * self.value[:, keys].transpose(0, 1).unsqueeze(1)
        return sent.mul_(self.gate[:, queries].transpose(0, 1)).flatten(-2) @ self.weight.flatten(0, 1)

    def blocks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """All vectors, some rows at a time: the keys that these rows see, the rows, and u (key, query, d_model)."""
        n_queries, n_keys = self.attention.shape[-2:]
        step = max(1, PAIR_ELEMENTS // (n_keys * max(self.width, self.weight.shape[-1])))
        for start in range(0, n_queries, step):
            queries = slice(start, min(start + step, n_queries))
            seen = self.attention[:, queries].ne(0).any(1).any(0).nonzero()
            if len(seen):  # a causal model leaves half of the work undone, a window more
                keys = slice(int(seen[0]), int(seen[-1]) + 1)
                yield keys, queries, self.vectors(keys, queries)

    @property
    def width(self) -> int:
        """Channels of all heads."""
        return self.value.shape[-1] * len(self.value)

    def of_heads(self, heads: list[int]) -> GatedHeads:
        """Some of the heads."""
        return GatedHeads(self.attention[heads], self.value[heads], self.gate[heads], self.weight[heads])

    def row(self, query: int) -> GatedHeads:
        """One query alone."""
        one = slice(query, query + 1)
        return replace(self, attention=self.attention[:, one], gate=self.gate[:, one])

    def lengths(self) -> Tensor:
        """‖u[i, j]‖₂, (query, key)."""
        found = self.attention.new_zeros(self.attention.shape[-2:])
        for keys, queries, vectors in self.blocks():
            found[queries, keys] = torch.linalg.vector_norm(vectors, dim=-1).T
        return found

    def lengths_per_head(self) -> Tensor:
        """The same with heads apart, (head, query, key), by one Gram matrix per head: n²·H·d_head² multiplications."""
        found = self.attention.abs()
        n_queries, n_keys = self.attention.shape[-2:]
        step = max(1, PAIR_ELEMENTS // (n_keys * self.value.shape[-1]))
        for head, (value, gate, weight) in enumerate(zip(self.value, self.gate, self.weight, strict=True)):
            gram = weight @ weight.T
            for start in range(0, n_queries, step):
                rows = slice(start, start + step)
                sent = gate[rows].unsqueeze(1) * value
                found[head, rows] *= ((sent @ gram) * sent).sum(-1).clamp_(min=0).sqrt_()
        return found


def gated_heads(attention: Tensor, value: Tensor, gate: Tensor, weight: Tensor) -> Iterator[GatedHeads]:
    """One after another the sequences of a batch of any axes; shapes as in `GatedHeads` with axes in front."""
    weights, values, gates = (one.reshape(-1, *one.shape[-3:]) for one in (attention, value, gate))
    for own_weights, own_value, own_gate in zip(weights, values, gates, strict=True):
        yield GatedHeads(own_weights, own_value, own_gate, weight)
