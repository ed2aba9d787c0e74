"""Lengths of Jacobians by backward passes: right for any function, at n·d passes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WORKING_ELEMENTS = 1 << 25
"""Numbers that may be alive at a time, as far as they can be foreseen: 128 MiB in float32."""


def backward_lengths(
    function: Callable[[Tensor], Tensor], states: Tensor, weights: Tensor | None = None, per_pass: int | None = None
) -> Tensor:
    """‖∂y_i/∂x_j ⊙ weights_j‖_F for all pairs of rows, by vector–Jacobian products, many at a time.

    Args:
        function: (..., key, d_model) → (..., query, d_model), differentiable; leading axes do not mix.
        states: (..., key, d_model): where the Jacobian is taken.
        weights: (..., key, d_model): what the input axis is multiplied by; None for ones.
        per_pass: Numbers that one backward pass keeps alive; left out, 16 for each number of ``states``.

    Returns:
        (..., query, key), ≥ 0.

    Example:
        >>> backward_lengths(lambda x: 3 * x, torch.eye(2))
        tensor([[4.2426, 0.0000],
                [0.0000, 4.2426]])
    """
    with torch.enable_grad():
        at = states.detach().clone().requires_grad_()
        rows = function(at).unbind(-2)
    lead, d = rows[0].shape[:-1], rows[0].shape[-1]
    step = max(1, min(d, WORKING_ELEMENTS // (per_pass or 16 * states.numel())))
    units = torch.eye(d, dtype=rows[0].dtype, device=rows[0].device)
    asks = units.reshape(d, *[1] * len(lead), d).expand(d, *lead, d)
    found = []
    for row in rows:
        squares = states.new_zeros(states.shape[:-1])
        for asked in torch.split(asks, step):
            (slopes,) = torch.autograd.grad(row, at, asked, retain_graph=True, is_grads_batched=True)
            squares += (slopes if weights is None else slopes * weights).square().sum((0, -1))
        found.append(squares)
    return torch.stack(found, -2).sqrt_()
