"""Maps whose rows are shares, and the ways to give a residual connection its place in them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from contextmix.maths.bounds import within


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


def whole_rows(attention: Tensor) -> Tensor:
    """Attention weights as shares of their rows, where a model in half precision rounded each of them by itself.

        out_ij = a_ij / Σ_k a_ik

    A softmax gives rows that sum to one. Rounding each weight to bfloat16 moves a sum by 2⁻⁹ at most, to float16 by
    2⁻¹¹. A sequence with a row that is off by more does not get its sums from a softmax alone (a sink took part, for
    one), and stays as it is; so does whatever was computed in float32 or float64, bit for bit.

    Args:
        attention: (..., head, query, key), ≥ 0, in float32 or float64; half precision is told by the numbers.

    Returns:
        The same shape.

    Example:
        >>> rounded = torch.tensor([[[0.7, 0.2, 0.1]]]).bfloat16().float()
        >>> float(rounded.sum()), float(whole_rows(rounded).sum())
        (0.99951171875, 1.0)
    """
    half = next((dtype for dtype in (torch.bfloat16, torch.float16) if _is_rounded_to(attention, dtype)), None)
    if half is None:
        return attention
    sums = attention.sum(-1, keepdim=True)
    rounding = 0.6 * torch.finfo(half).eps + attention.shape[-1] * torch.finfo(half).smallest_normal * 2**-10
    whole = ((sums - 1).abs() <= rounding).all(-2, keepdim=True).all(-3, keepdim=True)
    return torch.where(whole, attention / sums, attention)


def _is_rounded_to(numbers: Tensor, dtype: torch.dtype) -> bool:
    return torch.equal(numbers.to(dtype).to(numbers.dtype), numbers)


def at_most_one(combined: Tensor, maps: Tensor) -> Tensor:
    """Shares that come of products of maps of shares: what is above one by rounding is one, see `within`.

    Each row of a map sums to one but for the rounding of the precision that it was measured in, n additions and what
    the softmax and the mean over heads left, and products over layers multiply that.

    Args:
        combined: (..., key), in any precision.
        maps: (layer, ..., query, key), as they were measured.
    """
    layers, n_keys = len(maps), maps.shape[-1]
    return within(combined, 0, 1, layers * (n_keys + 16) * torch.finfo(maps.dtype).eps)


def parts_again(combined: Tensor) -> Tensor:
    """Rows that may sum to more than one, as a maximum over layers does, divided by their sum where they do.

    Example:
        >>> parts_again(torch.tensor([[0.75, 0.75], [0.25, 0.5]]))
        tensor([[0.5000, 0.5000],
                [0.2500, 0.5000]])
    """
    return combined / combined.sum(-1, keepdim=True).clamp(min=1)


def half_residual(shares: Tensor, apart: bool = False, first: int = 0) -> Tensor:
    """Attention and residual weighted equally: ``½ shares + ½ I``, shape (..., query, key).

    Args:
        shares: (..., query, key), ≥ 0.
        apart: The keys are tokens of another sequence: the residual's half is one more column, the last.
        first: Which key is the first row's own token, see `Parts`.

    Source:
        Abnar & Zuidema (2020); GlobEnc eq. 13 and 16. Adding I and dividing by the row sum is the same for shares.
    """
    if apart:
        return pad(0.5 * shares, (0, 1), value=0.5)
    found = 0.5 * shares
    found.diagonal(first, dim1=-2, dim2=-1).add_(0.5)
    return found


def measured_residual(shares: Tensor, ratio: Tensor, apart: bool = False, first: int = 0) -> Tensor:
    """Attention to other tokens scaled to a measured mixing ratio; the rest stays with the token itself.

        out_ij = r_i · shares_ij / Σ_{k≠i} shares_ik   (j ≠ i),        out_ii = 1 − r_i

    Args:
        shares: (..., query, key), ≥ 0.
        ratio: (..., query), between 0 and 1.
        apart: The keys are tokens of another sequence, all of them others; 1 − r_i is one more column, the last.
        first: Which key is the first row's own token, see `Parts`.

    Returns:
        (..., query, key), rows sum to one. A row without attention to others (a text of one token; all attention on
        itself) mixes nothing: its ratio counts as 0. The authors' code divides zero by zero there.

    Source:
        GlobEnc, eq. 14 and 15.
    """
    others = shares.clone()
    if not apart:
        others.diagonal(first, dim1=-2, dim2=-1).zero_()
    mixing = torch.where(others.sum(-1) > 0, ratio, torch.zeros_like(ratio))
    out = row_shares(others) * mixing.unsqueeze(-1)
    if apart:
        return torch.cat([out, 1 - mixing.unsqueeze(-1)], dim=-1)
    out.diagonal(first, dim1=-2, dim2=-1).copy_(1 - mixing)
    return out
