"""Quadratic forms on an accelerator: what follows the product is one kernel that `torch.compile` writes.

On a processor planes of heads that stay in its cache are faster (`maths.quadratic`), and a compiler may not be there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

ELEMENTS = 1 << 26
"""Numbers of a tile's product (key, head, query) at a time: 256 MiB in float32."""


def fused_forms(attention: Tensor, gram: Tensor, *, compiled: bool = True) -> Tensor:
    """aᵀ G a for every pair of tokens; see `contextmix.maths.quadratic.quadratic_forms`, which it stands behind.

    Args:
        attention: (..., head, query, key).
        gram: (..., key, head, head), symmetric.
        compiled: Whether to have the kernel written; where Triton is missing, it is not.

    Returns:
        (..., query, key).
    """
    formula = _compiled() if compiled else _forms
    *batch, n_heads, n_queries, n_keys = attention.shape
    rows = max(1, ELEMENTS // max(1, torch.Size(batch).numel() * n_heads * n_keys))
    if rows >= n_queries:
        return formula(attention, gram)
    return torch.cat([formula(block, gram) for block in torch.split(attention, rows, dim=-2)], dim=-2)


def _forms(attention: Tensor, gram: Tensor) -> Tensor:
    by_key = attention.movedim(-1, -3)  # (..., key, head, query)
    return ((gram @ by_key) * by_key).sum(-2).mT


@cache
def _compiled() -> Callable[[Tensor, Tensor], Tensor]:
    if find_spec("triton") is None:
        return _forms
    found: Callable[[Tensor, Tensor], Tensor] = torch.compile(_forms, dynamic=True)
    return found
