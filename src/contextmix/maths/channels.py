"""Lengths of contributions where every channel has a map of its own, in tiles of queries and keys.

    ‖Σ_c K[c, i, j] v[j, c] W_c‖₂

A Gram matrix is no help here: it is as large as the projection. So the vectors are made, some at a time, by n²·C·d
multiplications.
"""

from __future__ import annotations

from torch import Tensor

VECTOR_ELEMENTS = 1 << 22
"""Numbers of vectors and of what they are made of that exist at a time: 16 MiB in float32."""


def channel_lengths(parts: Tensor, weight: Tensor) -> Tensor:
    """Lengths of what each token sends each other one.

    Args:
        parts: K · v, (..., channel, query, key).
        weight: W, (channel, d_model).

    Returns:
        (..., query, key), ≥ 0.

    Example:
        >>> import torch
        >>> channel_lengths(torch.tensor([[[3.0, 0.0]], [[4.0, 1.0]]]), torch.eye(2))
        tensor([[5., 1.]])
    """
    channels, n_queries, n_keys = parts.shape[-3:]
    flat = parts.reshape(-1, channels, n_queries, n_keys)
    found = parts.new_zeros(len(flat), n_queries, n_keys)
    side = max(1, int((VECTOR_ELEMENTS / max(channels, weight.shape[1])) ** 0.5))
    for own, lengths in zip(flat, found, strict=True):
        for top in range(0, n_queries, side):
            for left in range(0, n_keys, side):
                tile = own[:, top : top + side, left : left + side]
                if bool(tile.any()):  # a causal mixer leaves half of the work undone
                    vectors = tile.flatten(1).T @ weight
                    lengths[top : top + side, left : left + side] = vectors.norm(dim=-1).view(tile.shape[1:])
    return found.view(*parts.shape[:-3], n_queries, n_keys)
