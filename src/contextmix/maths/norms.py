"""LayerNorm and RMSNorm as what they are to a decomposition: a linear map divided by one number per row.

    norm(u)_i = linear(u_i) / denominator(u_i) + bias
    linear(u) = (u − mean(u)) ⊙ weight        (RMSNorm: u ⊙ weight)

With the denominator held at the value of the full vector ("frozen"), the map is linear, so the norm of a sum is the sum
of its pushed parts. This is exact, not an approximation: the denominator is a property of the row, not of a part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from contextmix.maths.shapes import by_shapes


@dataclass(frozen=True)
class Norm:
    """A normalisation layer with its parameters.

    Attributes:
        kind: ``"layer"`` subtracts the mean over d_model, ``"rms"`` does not.
        weight: γ, shape (d_model,); None for ones.
        bias: β, shape (d_model,); None for zeros.
        eps: Added to the population variance (or mean square) inside the square root.
    """

    __repr__ = by_shapes

    kind: Literal["layer", "rms"]
    weight: Tensor | None
    bias: Tensor | None
    eps: float


def times(norm: Norm, factor: float) -> Norm:
    """The norm with a factor behind it.

    Example:
        >>> times(Norm("rms", torch.tensor([1.0, 2.0]), None, 0.0), 0.5).weight
        tensor([0.5000, 1.0000])
    """
    if factor == 1:
        return norm
    weight = torch.full((), factor) if norm.weight is None else norm.weight * factor
    return replace(norm, weight=weight, bias=None if norm.bias is None else norm.bias * factor)


def linear(vectors: Tensor, norm: Norm) -> Tensor:
    """Push vectors through the linear part of a norm: centre (LayerNorm only), then multiply by γ.

    Args:
        vectors: (..., d_model): full rows, parts of rows, or rows of a weight matrix.
        norm: The norm.

    Returns:
        (..., d_model), still to be divided by the `denominator` of the full row.

    Source:
        Kobayashi et al. (2021), eq. 6: the mean of *each part* is subtracted.
    """
    if norm.kind == "layer":
        centred = vectors - vectors.mean(-1, keepdim=True)
        return centred if norm.weight is None else centred.mul_(norm.weight)  # ours alone, so no second copy
    return vectors if norm.weight is None else vectors * norm.weight


def frozen(vectors: Tensor, norm: Norm, inverse: Tensor) -> Tensor:
    """Rows through a norm whose denominator is held fixed: ``linear(vectors) · inverse``.

    Args:
        vectors: (..., d_model).
        norm: The norm.
        inverse: (..., 1): the reciprocal of the `denominator` of the full rows.

    Returns:
        (..., d_model), without the bias.
    """
    pushed = vectors * inverse  # ours alone, so the rest needs no more memory
    if norm.kind == "layer":
        pushed -= pushed.mean(-1, keepdim=True)
    if norm.weight is not None:
        pushed *= norm.weight
    return pushed


def pulled_back(directions: Tensor, norm: Norm, inverse: Tensor) -> Tensor:
    """The transpose of `frozen`: which direction in front of a norm acts like a direction behind it.

        ⟨u, frozen(v)⟩ = ⟨pulled_back(u), v⟩ for every v

    Args:
        directions: u, (..., d_model).
        norm: The norm.
        inverse: (..., 1): the reciprocal of the `denominator` of the full rows.

    Returns:
        (..., d_model).

    Example:
        >>> norm, one = Norm("layer", torch.tensor([2.0, 1.0]), None, 0.0), torch.ones(1)
        >>> u, v = torch.tensor([1.0, 3.0]), torch.tensor([5.0, 2.0])
        >>> float(u @ frozen(v, norm, one)), float(pulled_back(u, norm, one) @ v)
        (-1.5, -1.5)
    """
    found = directions * inverse
    if norm.weight is not None:
        found = found * norm.weight
    return found - found.mean(-1, keepdim=True) if norm.kind == "layer" else found


def denominator(total: Tensor, norm: Norm) -> Tensor:
    """The number that a norm divides each full row by.

        LayerNorm: sqrt(Var_population(u) + eps)        RMSNorm: sqrt(mean(u²) + eps)

    Args:
        total: (..., d_model): the true input of the norm, with all its biases.
        norm: The norm.

    Returns:
        (..., 1), positive.

    Source:
        The authors' code of GlobEnc and Kobayashi et al. (2021); the printed appendix of GlobEnc has eps elsewhere.
    """
    centred = total - total.mean(-1, keepdim=True) if norm.kind == "layer" else total
    # torch.var takes fifteen times as long on a CPU (measured 2026-11, 512 rows of 768).
    return torch.sqrt(centred.square().mean(-1, keepdim=True) + norm.eps)


def normalise(total: Tensor, norm: Norm) -> Tensor:
    """The norm itself: ``linear(total) / denominator(total) + bias``, shape (..., d_model).

    Example:
        >>> plain = Norm("layer", None, None, eps=0.0)
        >>> normalise(torch.tensor([1.0, 3.0]), plain)
        tensor([-1.,  1.])
    """
    normed = linear(total, norm) / denominator(total, norm)
    return normed if norm.bias is None else normed + norm.bias
