"""Attention within windows of neighbouring tokens, one call after another, as one attention over all tokens.

A tower that keeps all patches in one row calls attention once for each window of it, in the order of the row. So the
weights over all tokens are those of the windows along the diagonal, and zero elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def are_windows(shapes: Sequence[Sequence[int]], tokens: int) -> bool:
    """Whether several attention calls share out so many tokens among them.

    Args:
        shapes: Of the attention weights of each, (batch, head, query, key).
        tokens: That entered.
    """
    square = all(shape[0] == 1 and shape[2] == shape[3] for shape in shapes)
    return square and len(shapes) > 1 and sum(shape[2] for shape in shapes) == tokens


def over_all(windows: Sequence[Tensor]) -> Tensor:
    """Attention weights of windows (1, head, n, n) as those over all tokens, (1, head, Σ n, Σ n)."""
    heads = range(windows[0].shape[1])
    blocks: Any = torch.block_diag
    return torch.stack([blocks(*(window[0, head] for window in windows)) for head in heads])[None]
