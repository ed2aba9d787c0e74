"""Formulas written out in loops, which several tests compare with."""

import torch
from torch import Tensor


def quadratic_forms(attention: Tensor, gram: Tensor) -> Tensor:
    """aᵀ G a for every pair of tokens: attention (head, query, key), gram (key, head, head)."""
    n_heads, n_queries, n_keys = attention.shape
    out = torch.zeros(n_queries, n_keys, dtype=torch.float64)
    for i in range(n_queries):
        for j in range(n_keys):
            for h in range(n_heads):
                for k in range(n_heads):
                    out[i, j] += attention[h, i, j] * gram[j, h, k] * attention[k, i, j]
    return out
