"""What source tokens send, as Gram matrices that are made once where rows are measured block by block."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

TOKENS = 128
"""Source tokens whose F (token, head, d_model) is in memory at a time."""


@dataclass(frozen=True)
class Grams:
    """Of one sequence.

        G[j, h, k] = F[j, h] · F[j, k],   F[j, h] = value[h, j] @ weight[h]

    Attributes:
        value: (head, key, d_head): of all tokens.
        keys: Which of them the block of rows at hand sees.
        made: Output projections, pushed through what follows them, with the Gram matrices that belong to them. Blocks
            of rows share the list. A projection is found again by its numbers, never by its place in memory: memory is
            used twice.
    """

    value: Tensor
    keys: slice = field(default_factory=lambda: slice(None))
    made: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def seeing(self, keys: slice) -> Grams:
        """The same for rows that see these keys."""
        return replace(self, keys=keys)

    def of(self, weight: Tensor) -> Tensor:
        """G of the keys at hand, (key, head, head), for a projection (head, d_head, d_model)."""
        for known, gram in self.made:
            if known.shape == weight.shape and torch.equal(known, weight):
                return gram[self.keys]
        found = _grams(self.value, weight)
        self.made.append((weight, found))
        return found[self.keys]


def _grams(value: Tensor, weight: Tensor) -> Tensor:
    n_heads, n_keys, _ = value.shape
    found = value.new_empty(n_keys, n_heads, n_heads)
    for start in range(0, n_keys, TOKENS):
        own = slice(start, start + TOKENS)
        sent = torch.bmm(value[:, own], weight).transpose(0, 1)  # (key, head, d_model)
        torch.bmm(sent, sent.transpose(1, 2), out=found[own])
    return found
