"""An activation replaced by a line that meets it at the true value of its input, so that it can be applied to parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from contextmix.maths.derivatives import slopes

LineRule = Literal["zero_origin", "tangent", "relu", "none"]


def zero_origin_slope(activation: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """The slope of the line through the origin that meets an activation with act(0) = 0 at its true input.

        act(x) / x, and act′(0) where x is zero

    For GELU this is Φ(x), for SiLU the logistic function, for ReLU 1[x > 0], for tanh 1 − x²/3 + …: the quotient has
    all digits also for tiny x, because these activations have; only a quotient of denormal numbers has not.

    Source:
        DecompX, section 3; the authors' code divides by x + 1e-12.

    Example:
        >>> zero_origin_slope(torch.tanh, torch.tensor([0.0, 1e-30]))
        tensor([1., 1.])
    """
    limits = torch.finfo(states.dtype)
    tiny = states.abs() < limits.tiny / limits.eps
    safe = torch.where(tiny, torch.ones_like(states), states)
    return torch.where(tiny, slopes(activation, states.new_zeros(1)), activation(safe) / safe)


def line(activation: Callable[[Tensor], Tensor], states: Tensor, rule: LineRule) -> tuple[Tensor, Tensor | None]:
    """The line that stands in for an activation: its slope and its intercept (None for zero), each like ``states``.

    Args:
        activation: Element-wise.
        states: The true inputs.
        rule: ``"zero_origin"`` through the origin, ``"tangent"`` with the activation's own slope; both meet it.
            ``"relu"`` is the line that ReLU would have, whatever the activation is.
    """
    if rule == "relu":
        return (states > 0).to(states.dtype), None
    if rule == "tangent":
        slope = slopes(activation, states)
        return slope, activation(states) - slope * states
    return zero_origin_slope(activation, states), None
