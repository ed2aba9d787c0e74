"""What was drawn from intermediate tokens, passed on to what these were made of; no mass is made or lost on the way.

A unit u drew A[u, k] from thought k, and T[k, j] ≥ 0 is what thought k itself drew from each token j before it. With
the shares S[k, j] = T[k, j] / Σ_i T[k, i] one hop is

    A'[u, j] = A[u, j] + Σ_k A[u, k] S[k, j]   for j that is no thought,
    A'[u, k] = Σ_k' A[u, k'] S[k', k]          for thoughts: what they passed on among themselves stays there.

Since S sums to one in each row, Σ_j A'[u, j] = Σ_j A[u, j]. Further hops pass on what still lies on the thoughts. Those
draw on earlier ones alone, so S among them is strictly triangular, and all hops together are Σ_n S^n = (1 − S)⁻¹.

Source:
    The recursion is that of Pan et al. (2026), "Towards Long-Horizon Interpretability: Efficient and Faithful
    Multi-Token Attribution for Reasoning LLMs" (FlashTrace), which explains all thoughts as one span, weighted by what
    the answer drew from them. Here each thought has a row of its own, so that nothing is averaged.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Hops = int | Literal["all"]
"""How often what lies on thoughts is passed on; ``"all"`` until nothing does."""


def relayed(drawn: NDArray[Any], rows: NDArray[Any], places: NDArray[np.int_], hops: Hops) -> NDArray[np.float64]:
    """What each unit drew, after what it drew from thoughts was passed on.

    Args:
        drawn: A, (unit, token), of any sign.
        rows: T, (thought, token); of a negative number the positive part counts, which is none.
        places: Where each thought stands among the tokens, (thought,), ascending; its row is zero from there on.
        hops: 0 for nothing, 1, 2, …, or ``"all"``.

    Returns:
        A', (unit, token), with the sums of A. What lies on a thought whose row holds nothing positive stays there.

    Example:
        >>> drawn, rows = np.array([[0.0, 1.0, 0.0, 4.0]]), np.array([[3.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
        >>> relayed(drawn, rows, np.array([2, 3]), 1).tolist(), relayed(drawn, rows, np.array([2, 3]), "all").tolist()
        ([[0.0, 3.0, 2.0, 0.0]], [[1.5, 3.5, 0.0, 0.0]])
    """
    positive = np.maximum(rows.astype(np.float64), 0)
    total = positive.sum(1, keepdims=True)
    shares = np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
    among, stays = shares[:, places], (total[:, 0] == 0).astype(np.float64)
    beyond = shares.copy()
    beyond[:, places] = 0
    found = drawn.astype(np.float64)
    lies = found[:, places]
    found[:, places] = 0
    if hops == "all":
        for place in reversed(range(len(places))):  # (1 − S)⁻¹ by substitution: later thoughts give to earlier ones
            lies[:, :place] += lies[:, place, None] * among[place, :place]
        found += lies @ beyond
        lies = lies * stays
    else:
        for _ in range(min(hops, len(places))):  # a chain of thoughts is no longer than there are thoughts
            found += lies @ beyond
            lies = lies @ among + lies * stays
    found[:, places] = lies
    return found
