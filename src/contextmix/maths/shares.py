"""Maps whose rows are shares, and the ways to give a residual connection its place in them."""

from __future__ import annotations

import torch
from torch import Tensor


def row_shares(maps: Tensor) -> Tensor:
    """Each row divided by its sum; rows that sum to zero stay zero.

    Args:
        maps: (..., query, key), ≥ 0.

    Returns:
        (..., query, key), rows sum to one (or to zero).

    Example:
        >>> row_shares(torch.tensor([[1.0, 3.0], [0.0, 0.0]]))
        tensor([[0.2500, 0.7500],
                [0.0000, 0.0000]])
    """
    sums = maps.sum(-1, keepdim=True)
    return torch.where(sums > 0, maps / sums, torch.zeros_like(maps))


def half_residual(shares: Tensor) -> Tensor:
    """Attention and residual weighted equally: ``½ shares + ½ I``, shape (..., query, key).

    Source:
        Abnar & Zuidema (2020); GlobEnc eq. 13 and 16. Adding I and dividing by the row sum is the same for shares.
    """
    return 0.5 * shares + 0.5 * torch.eye(shares.shape[-1], dtype=shares.dtype, device=shares.device)


def measured_residual(shares: Tensor, ratio: Tensor) -> Tensor:
    """Attention to other tokens scaled to a measured mixing ratio; the rest stays with the token itself.

        out_ij = r_i · shares_ij / Σ_{k≠i} shares_ik   (j ≠ i),        out_ii = 1 − r_i

    Args:
        shares: (..., query, key), ≥ 0.
        ratio: (..., query), between 0 and 1.

    Returns:
        (..., query, key), rows sum to one. A row without attention to others (a text of one token; all attention on
        itself) mixes nothing: its ratio counts as 0. The authors' code divides zero by zero there.

    Source:
        GlobEnc, eq. 14 and 15.
    """
    others = shares.clone()
    others.diagonal(dim1=-2, dim2=-1).zero_()
    mixing = torch.where(others.sum(-1) > 0, ratio, torch.zeros_like(ratio))
    out = row_shares(others) * mixing.unsqueeze(-1)
    out.diagonal(dim1=-2, dim2=-1).copy_(1 - mixing)
    return out
