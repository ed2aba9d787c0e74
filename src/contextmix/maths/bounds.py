"""Numbers that lie between two bounds by arithmetic, and that the rounding of a processor may put beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # tables and metrics hold arrays, and ask for these bounds without torch
    from torch import Tensor

Numbers = TypeVar("Numbers", "Tensor", "NDArray[Any]")


def within(numbers: Numbers, low: float, high: float, slack: float) -> Numbers:
    """A copy in which what lies beside a bound by rounding lies on it.

        out = bound                 where 0 < distance beyond the bound ≤ slack,        out = numbers   elsewhere

    So what is wrong by more than rounding stays wrong, and whatever lies between the bounds stays bit for bit, as NaN
    does.

    Args:
        numbers: Any shape, floating point, with an axis at least.
        low: The smallest number that exact arithmetic gives.
        high: The largest one.
        slack: What rounding may do, in units of the numbers: a small multiple of eps = 2u for each number that was
            added up, since a sum of n numbers ≥ 0 is off by n·u of itself at most.

    Example:
        >>> within(np.array([1 + 2e-16, 1.5, -1e-17, 0.25]), 0, 1, 4 * np.finfo(float).eps).tolist()
        [1.0, 1.5, 0.0, 0.25]
    """
    found = numbers.clip(low, high)
    wrong = abs(numbers - found) > slack
    found[wrong] = numbers[wrong]
    return found


def number_within(number: float, low: float, high: float, added: int) -> float:
    """One number of float64 that came of this many additions, see `within`; the slack has room for eight more steps.

    Example:
        >>> number_within(1 + 2e-16, -1, 1, added=3), number_within(1.1, -1, 1, added=3)
        (1.0, 1.1)
    """
    slack = (added + 8) * float(np.finfo(np.float64).eps) * max(abs(low), abs(high))
    return float(within(np.array([number]), low, high, slack)[0])
