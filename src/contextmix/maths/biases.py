"""A bias belongs to no part of a sum. These rules share it out, so that the parts add up to the whole again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

BiasRule = Literal["absdot", "abssim", "norm", "equal", "cls", "none"]


def bias_shares(parts: Tensor, bias: Tensor, rule: BiasRule) -> Tensor:
    """How much of a bias each source gets.

        absdot |⟨b, u_k⟩| · abssim |cos(b, u_k)| · norm ‖u_k‖ · equal 1[u_k ≠ 0] · cls 1[k = 0],  over their sum

    Args:
        parts: (source, query, d).
        bias: (d,), or (query, d) for one per row.
        rule: One of these.

    Returns:
        (source, query), ≥ 0, sums to one over sources. Where the rule gives nothing to anybody, all get the same.

    Source:
        DecompX, section 3, and the authors' code, which divides by the sum plus 1e-12 and so loses a bias that is
        orthogonal to all parts.
    """
    weights = _WEIGHTS[rule](parts, bias)
    total = weights.sum(0)
    return torch.where(total > 0, weights / total, torch.full_like(total, 1 / len(parts)))


def assign_bias(parts: Tensor, bias: Tensor | None, rule: BiasRule) -> Tensor:
    """The bias added to the parts, shared out by a rule; see `bias_shares`.

    Args:
        parts: (source, query, d).
        bias: (d,), or (query, d) for one per row; None for no bias.
        rule: The rule; ``"none"`` leaves the bias out.

    Returns:
        (source, query, d). Their sum over sources has grown by the bias (unless left out).

    Example:
        >>> parts = torch.tensor([[[1.0, 0.0]], [[-3.0, 5.0]]])
        >>> assign_bias(parts, torch.tensor([4.0, 0.0]), "absdot")[:, 0]
        tensor([[2., 0.],
                [0., 5.]])
    """
    return add_bias_(parts.clone(), bias, rule)


def add_bias_(parts: Tensor, bias: Tensor | None, rule: BiasRule) -> Tensor:
    """`assign_bias` in place: the parts themselves are overwritten and returned."""
    if bias is None or rule == "none":
        return parts
    return parts.addcmul_(bias_shares(parts, bias, rule).unsqueeze(-1), bias)


def _absdot(parts: Tensor, bias: Tensor) -> Tensor:
    dots: Tensor = parts @ bias if bias.ndim == 1 else torch.einsum("kid,id->ki", parts, bias)
    return dots.abs_()


def _abssim(parts: Tensor, bias: Tensor) -> Tensor:
    lengths = _norm(parts, bias)  # the bias's own length cancels in the shares
    return torch.where(lengths > 0, _absdot(parts, bias) / lengths, torch.zeros_like(lengths))


def _norm(parts: Tensor, bias: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(parts, dim=-1)
    return lengths


def _equal(parts: Tensor, bias: Tensor) -> Tensor:
    largest: Tensor = torch.linalg.vector_norm(parts, ord=torch.inf, dim=-1)
    return largest.ne(0).to(parts.dtype)


def _cls(parts: Tensor, bias: Tensor) -> Tensor:
    weights = parts.new_zeros(parts.shape[:-1])
    weights[0] = 1
    return weights


_WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "absdot": _absdot,
    "abssim": _abssim,
    "norm": _norm,
    "equal": _equal,
    "cls": _cls,
}
