"""Quadratic forms of attention weights over heads: lengths of sums of vectors from the Gram matrices of these."""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.maths.fused import fused_forms

SHORT = 1 << 14  # pairs of tokens up to which quadratic forms are products of matrices
PLANE_ELEMENTS = 1 << 18  # of one head's attention per step: large enough to use all cores, small enough for the cache


def quadratic_forms(attention: Tensor, gram: Tensor) -> Tensor:
    """aᵀ G a for every pair of tokens, with a = attention[:, i, j] over heads and G = gram[j].

    Args:
        attention: (..., head, query, key).
        gram: (..., key, head, head), symmetric.

    Returns:
        (..., query, key).
    """
    if attention.is_cuda:
        return fused_forms(attention, gram)
    n_heads, n_queries, n_keys = attention.shape[-3:]
    if n_queries * n_keys <= SHORT:
        return _forms_by_key(attention, gram)
    # Whole (query, key) planes, one head pair at a time: contiguous multiply-adds, about four times faster than a
    # batched product per key, which must transpose the attention first (measured 2026-11 on two cores, n = 512 and
    # 2048). Of short texts the few large steps of that product win.
    pairs = gram.movedim(-3, -1).contiguous().unsqueeze(-2)  # (..., head, head, 1, key)
    forms = attention.new_empty(*attention.shape[:-3], n_queries, n_keys)
    rows = max(1, PLANE_ELEMENTS * n_heads // max(1, attention[..., 0, :].numel()))
    for start in range(0, n_queries, rows):
        block = slice(start, start + rows)
        weights = attention[..., block, :].unbind(-3)
        total = forms[..., block, :].zero_()
        for h, weight in enumerate(weights):
            inner = weight * pairs[..., h, h, :, :]
            for other in range(h + 1, n_heads):  # G is symmetric: each unordered pair once, doubled
                inner.addcmul_(weights[other], pairs[..., h, other, :, :], value=2)
            total.addcmul_(inner, weight)
    return forms


def _forms_by_key(attention: Tensor, gram: Tensor) -> Tensor:
    """The same by one product of matrices per key, sequence by sequence, so that what it makes stays in the cache."""
    forms = attention.new_empty(*attention.shape[:-3], *attention.shape[-2:])
    own = (attention.flatten(0, -4), gram.flatten(0, -4), forms.flatten(0, -3)) if attention.ndim > 3 else None
    for weights, grams, found in zip(*own, strict=True) if own else [(attention, gram, forms)]:
        by_key = weights.movedim(-1, 0).contiguous()  # (key, head, query)
        found.copy_(torch.bmm(grams, by_key).mul_(by_key).sum(1).T)
    return forms
