"""Effective attention: attention without the part that cannot reach the output.

A head's output is A V. Whatever part of a row of A is orthogonal to every column of V is lost in that product; with
more tokens than d_head there is always such a part. What remains is the projection on the column space of V,

    A_eff = A V V⁺ = (A U) Uᵀ,    U (n, rank): orthonormal columns that span those of V

The basis comes from a thin factorisation in float64: V L⁻ᵀ with L Lᵀ = VᵀV (Cholesky), which also bounds the condition
of V. Only where that bound does not prove full rank, a thin singular value decomposition decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHOLESKY_LIMITS = {torch.float32: 2e4, torch.float64: 1e6}
"""Condition up to which one Cholesky factor in float64 (two for float64) gives a basis orthonormal to the precision."""


@dataclass(frozen=True)
class ValueSpace:
    """The column space of the values of each head.

    Attributes:
        basis: (..., head, key, rank or more): orthonormal columns, then zeros.
        rank: (..., head), whole numbers.
    """

    basis: Tensor
    rank: Tensor

    @property
    def is_everything(self) -> Tensor:
        """(..., head): whether nothing is lost, because the space has as many dimensions as there are tokens."""
        return self.rank == self.basis.shape[-2]


def rank_tolerance(value: Tensor) -> float:
    """The smallest singular value that counts, relative to the largest: max(n, d_head) · ε of the values' precision.

    numpy's convention. Values that a model computed in float32 carry noise of that size, so float64 would count noise.
    """
    return max(value.shape[-2:]) * torch.finfo(value.dtype).eps


def condition_limit(value: Tensor) -> float:
    """The condition up to which values count as of full rank and need no singular values."""
    return min(1 / rank_tolerance(value), CHOLESKY_LIMITS[value.dtype])


def value_space(value: Tensor) -> ValueSpace:
    """An orthonormal basis of the columns of the values, head by head, and its size.

    Args:
        value: (..., head, key, d_head).
    """
    n, d = value.shape[-2:]
    exact = value.double()
    if n <= d:
        basis = torch.eye(n, dtype=exact.dtype, device=value.device).expand(*value.shape[:-1], n).clone()
        condition = inverse_factor(exact @ exact.mT)[1]
    else:
        basis, condition = _orthonormal(exact, passes=1 if value.dtype == torch.float32 else 2)
    full = condition < condition_limit(value)
    rank = torch.full(full.shape, min(n, d), device=value.device)
    if not full.all():
        basis[~full], rank[~full] = _decomposed(exact[~full], rank_tolerance(value))
    return ValueSpace(basis.to(value.dtype), rank)


def with_ones(value: Tensor) -> Tensor:
    """The values with a column of equal numbers: what a row of A_eff gives to that column is kept, and so its sum.

    Returns:
        (..., head, key, d_head + 1). The column is as long as the others are on average, for a good condition; its size
        changes no space.
    """
    size = value.square().mean((-2, -1), keepdim=True).sqrt()
    size = torch.where(size > 0, size, torch.ones_like(size))
    return torch.cat([value, size.expand(*value.shape[:-1], 1)], dim=-1)


def effective(attention: Tensor, space: ValueSpace) -> Tensor:
    """A_eff of each head, (..., head, query, key); attention itself where the values lose nothing."""
    kept = space.is_everything
    if kept.all():
        return attention.clone()
    return torch.where(kept[..., None, None], attention, (attention @ space.basis) @ space.basis.mT)


def effective_mean(attention: Tensor, space: ValueSpace) -> Tensor:
    """The mean of A_eff over heads, (..., query, key): one product over heads and basis, no map of a single head."""
    n_heads = attention.shape[-3]
    if space.is_everything.all():
        return attention.mean(-3)
    reached = (attention @ space.basis).transpose(-3, -2).flatten(-2)  # (..., query, head · rank)
    return reached @ space.basis.transpose(-3, -2).flatten(-2).mT / n_heads


def inverse_factor(gram: Tensor) -> tuple[Tensor, Tensor]:
    """L⁻¹ of G = L Lᵀ, and ‖V‖·‖L⁻¹‖, a bound on the condition of V: infinite or not a number where G is singular."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    inverse = torch.linalg.solve_triangular(factor, eye, upper=False)
    condition = gram.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt() * inverse.flatten(-2).norm(dim=-1)
    return inverse, torch.where(failed == 0, condition, torch.full_like(condition, torch.inf))


def _orthonormal(columns: Tensor, passes: int) -> tuple[Tensor, Tensor]:
    """V L⁻ᵀ and the condition of V. A second pass takes the columns from orthonormal to ε·condition² to ε."""
    inverse, condition = inverse_factor(columns.mT @ columns)
    columns = columns @ inverse.mT
    if passes > 1:
        columns = columns @ inverse_factor(columns.mT @ columns)[0].mT
    return columns, condition


def _decomposed(values: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Basis and rank by singular values, for (matrix, key, d_head); the identity where nothing is lost."""
    left, sizes, _ = torch.linalg.svd(values, full_matrices=False)
    counted = (sizes > sizes[..., :1] * tolerance).unsqueeze(-2)
    rank = counted.sum((-2, -1))
    n = values.shape[-2]
    if n > left.shape[-1]:
        return left * counted, rank
    eye = torch.eye(n, dtype=left.dtype, device=left.device)
    return torch.where((rank == n)[:, None, None], eye, left * counted), rank
