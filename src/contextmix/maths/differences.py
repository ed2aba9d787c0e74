"""What becomes of a small change of a row, computed as a change: nothing large is subtracted from something large.

1 − cos(y, y′) of two nearly equal vectors loses all its digits in float32; so do LN(u + Δ) − LN(u) and |y′| − |y|.
Written in Δ, all three keep them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.maths.norms import Norm, denominator, linear


def largest_error(found: Tensor, true: Tensor) -> Tensor:
    """How far one tensor is from another, beside the largest number of that one.

        max |found − true| / max |true|

    Two tensors of zeros are the same: 0. NaN if a number of one of them is.

    Example:
        >>> largest_error(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]))
        tensor(0.2500)
        >>> largest_error(torch.zeros(2), torch.zeros(2))
        tensor(0.)
    """
    return (found - true).abs().max() / true.abs().max().clamp_min(torch.finfo(true.dtype).tiny)


def inverse_change(total: Tensor, change: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """How a norm's denominator answers to a change of its input.

        1/s′ and 1/s′ − 1/s,  with  s′² − s² = (2 c·Δc + Δc·Δc) / d,  c centred (RMSNorm: not centred)

    Args:
        total: (..., d_model): the clean input u of the norm.
        change: (..., d_model): Δ; shapes broadcast.
        norm: The norm.

    Returns:
        Two tensors (..., 1).
    """
    if norm.kind == "layer":
        total = total - total.mean(-1, keepdim=True)
        change = change - change.mean(-1, keepdim=True)
    clean = denominator(total, norm)
    grown = torch.add(change, total, alpha=2).mul_(change).mean(-1, keepdim=True)
    changed = torch.sqrt((clean.square() + grown).clamp_min(norm.eps))
    return changed.reciprocal(), -grown / (clean * changed * (clean + changed))


def norm_change(
    total: Tensor, change: Tensor, norm: Norm | None, spread: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """norm(u + Δ) − norm(u), (..., d_model).

    Args:
        total: (..., d_model): u.
        change: (..., d_model): Δ; shapes broadcast.
        norm: The norm; None for the identity.
        spread: The `inverse_change` of the same three, where it is known already.

    Example:
        >>> plain = Norm("layer", None, None, eps=0.0)
        >>> norm_change(torch.tensor([1.0, 3.0]), torch.tensor([0.0, -4.0]), plain)
        tensor([ 2., -2.])
    """
    if norm is None:
        return change
    inverse, grown = inverse_change(total, change, norm) if spread is None else spread
    return torch.addcmul(linear(change, norm) * inverse, linear(total, norm), grown)


def cosine_distance(clean: Tensor, change: Tensor) -> Tensor:
    """1 − cos(y, y + D), from D.

        1 − cos = ½ (|D|² − (|y′| − |y|)²) / (|y| |y′|),   |y′| − |y| = (2 y·D + |D|²) / (|y′| + |y|)

    Args:
        clean: (..., d_model): y.
        change: (..., d_model): D; shapes broadcast.

    Returns:
        (...), between 0 and 2; 0 exactly where D is 0.

    Example:
        >>> cosine_distance(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0]))
        tensor(1.)
    """
    squared = change.square().sum(-1)
    length = clean.norm(dim=-1)
    grown = 2 * (clean * change).sum(-1) + squared
    changed = torch.sqrt((length.square() + grown).clamp_min(0))
    difference = grown / (changed + length)
    product = (length * changed).clamp_min(torch.finfo(change.dtype).tiny)
    distance: Tensor = (0.5 * (squared - difference.square()) / product).clamp(0, 2)
    return distance


def euclidean_distance(clean: Tensor, change: Tensor) -> Tensor:
    """|D|, shape (...)."""
    distance: Tensor = change.norm(dim=-1)
    return distance
