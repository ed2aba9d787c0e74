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
        found, _ = gram_matrices(self.value, weight)
        self.made.append((weight, found))
        return found[self.keys]


def gram_matrices(value: Tensor, weight: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """F Fᵀ for every source token, and sums over heads of what it sends.

    F is made for a block of tokens at a time and stays in the cache.

    Args:
        value: (head, token, d_head).
        weight: (head, d_head, d_model).
        shares: (token, 1, head): how much of each head's vector belongs to a token's sum; None for no sums.

    Returns:
        (token, head, head), and (token, 1, d_model) or None.
    """
    n_heads, count, _ = value.shape
    gram = value.new_empty(count, n_heads, n_heads)
    sums = None if shares is None else value.new_empty(count, 1, weight.shape[-1])
    memory = value.new_empty(n_heads, min(TOKENS, count), weight.shape[-1])
    for start in range(0, count, TOKENS):
        block = slice(start, start + TOKENS)
        sent = memory[:, : len(gram[block])]
        torch.bmm(value[:, block], weight, out=sent)
        sent = sent.transpose(0, 1)  # (token, head, d_model)
        torch.bmm(sent, sent.transpose(1, 2), out=gram[block])
        if shares is not None and sums is not None:
            torch.bmm(shares[block], sent, out=sums[block])
    return gram, sums
