"""Derivatives of the parts of a block that act on each row alone, as matrices. Rows are vectors: dy = dx J."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from contextmix.maths.norms import Norm, denominator, linear


def slopes(activation: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """The derivative of an element-wise function at each number.

    Example:
        >>> slopes(torch.square, torch.tensor([1.0, 3.0]))
        tensor([2., 6.])
    """
    with torch.enable_grad():
        at = states.detach().requires_grad_()
        (found,) = torch.autograd.grad(activation(at).sum(), at)
    return found


def after_norm(matrix: Tensor, total: Tensor, norm: Norm | None) -> Tensor:
    """What follows a matrix when its rows enter a norm: matrix N.

    Args:
        matrix: (row, m, d_model).
        total: (row, d_model): where the derivative N of the norm is taken, one for each matrix.
        norm: The norm; None for the identity.

    Returns:
        (row, m, d_model).

    Example:
        >>> plain = Norm("rms", None, None, eps=0.0)
        >>> after_norm(torch.eye(2)[None], torch.tensor([[1.0, 1.0]]), plain)
        tensor([[[ 0.5000, -0.5000],
                 [-0.5000,  0.5000]]])
    """
    if norm is None:
        return matrix
    spread = denominator(total, norm).unsqueeze(-2)
    unit = _centred(total, norm).unsqueeze(-2) / spread
    along = matrix @ unit.transpose(-1, -2) / total.shape[-1]
    pushed = linear(matrix, norm)
    return (pushed - along * (unit if norm.weight is None else unit * norm.weight)).div_(spread)


def before_norm(matrix: Tensor, total: Tensor, norm: Norm | None) -> Tensor:
    """N matrix, (row, d_model, m): the same for a matrix that follows the norm."""
    if norm is None:
        return matrix
    spread = denominator(total, norm).unsqueeze(-1)
    unit = _centred(total, norm).unsqueeze(-1) / spread
    weighted = matrix if norm.weight is None else matrix * norm.weight.unsqueeze(-1)
    along = unit.transpose(-1, -2) @ weighted / total.shape[-1]
    if norm.kind == "layer":
        weighted = weighted - weighted.mean(-2, keepdim=True)
    return (weighted - unit * along).div_(spread)


def _centred(total: Tensor, norm: Norm) -> Tensor:
    return total - total.mean(-1, keepdim=True) if norm.kind == "layer" else total
