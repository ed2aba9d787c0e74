"""The attention weights of some rows, from what a fused attention was given: the whole map is never made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

FUSED = "sdpa"
"""The attention whose masks are known here: a tensor (batch, 1, query, key), or none at all."""


def rows_attended(
    eager: Callable[..., tuple[Tensor, Tensor]],
    rows: slice,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    told: Mapping[str, Any],
) -> Tensor:
    """The weights that the model's own eager attention gives some queries, (batch, head, row, key).

    Whether they are those of the fused attention is not taken on trust: the recorder compares these weights times the
    values, through the output projection, with what the model made of the fused attention's output.

    Args:
        eager: The model's own eager attention.
        rows: Neighbouring queries.
        module: The attention module.
        query: (batch, head, query, d_head).
        key: (batch, key-value head, key, d_head).
        value: The same.
        mask: What the fused attention was given.
        told: Its other arguments.
    """
    own = {name: _of_rows(one, rows, query.shape[2], key.shape[2]) for name, one in told.items()}
    causal = told.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    seen = None if mask is None else _added(mask[..., rows, :], query.dtype)
    if mask is None and causal and query.shape[2] > 1:
        seen = _looking_back(rows, query, key)
    _, weights = eager(module, query[:, :, rows], key, value, seen, **own)
    return weights


def _of_rows(told: Any, rows: slice, n_queries: int, n_keys: int) -> Any:
    """What is said of every pair of tokens (a position bias), for these rows alone."""
    paired = isinstance(told, Tensor) and told.ndim >= 2 and told.shape[-2:] == (n_queries, n_keys)
    return told[..., rows, :] if paired else told


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of true and false as what eager attention adds to its scores."""
    if mask.dtype is not torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _looking_back(rows: slice, query: Tensor, key: Tensor) -> Tensor:
    """What a fused attention without a mask hides from these rows: what stands after them."""
    places = torch.arange(query.shape[2], device=query.device)[rows, None]
    seen = torch.arange(key.shape[2], device=query.device) <= places
    return _added(seen[None, None], query.dtype)


def by_itself(tensor: Tensor) -> Tensor:
    """The same numbers in memory of their own: a view keeps alive what it was cut from (a whole map, queries)."""
    cut = tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()
    return tensor.clone(memory_format=torch.contiguous_format) if cut else tensor
