"""What people marked in a text: whether it can tell scores apart, and how many tokens an explanation may choose."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contextmix.errors import BadOption
from contextmix.maths.bounds import number_within

Top = Literal["marked"] | int | float
"""How many tokens an explanation may choose: as many as people marked, a number (int), or a share of all (float)."""


def one_sided(rationale: NDArray[np.bool_]) -> str:
    """Why marks (token,) cannot tell good scores from bad ones: none, or all. Empty where they can."""
    if not rationale.any():
        return "no marked token"
    return "every token is marked" if rationale.all() else ""


def unranked(scores: NDArray[np.float64], rationale: NDArray[np.bool_]) -> str:
    """The same for metrics that rank tokens (token,): scores that are all the same rank nothing."""
    return one_sided(rationale) or ("constant scores" if scores.min() == scores.max() else "")


def share_on(scores: NDArray[np.float64], rationale: NDArray[np.bool_]) -> float:
    """Which share of the scores (token,), none below zero and some above, lies on the marked tokens: 0 to 1.

    Example:
        >>> share_on(np.array([1.0, 2.0, 1.0]), np.array([False, True, False]))
        0.5
    """
    with np.errstate(over="ignore"):  # no quotient exceeds 1; NumPy 1.26 warns falsely where the largest is subnormal
        scaled = scores / scores.max()  # a sum of huge numbers would overflow
    return number_within(float(scaled[rationale].sum() / scaled.sum()), 0, 1, added=2 * len(scores))


def chosen_number(top: Top, n_marked: int, n_tokens: int) -> int:
    """The number of tokens to choose; a share is rounded to the nearest number, and is one token at least.

    Raises:
        BadOption: If ``top`` is neither ``"marked"``, nor a number from 1, nor a share above 0 and up to 1.

    Example:
        >>> chosen_number("marked", 3, 20), chosen_number(5, 3, 20), chosen_number(0.2, 3, 20)
        (3, 5, 4)
    """
    if top == "marked":
        return n_marked
    if isinstance(top, int) and not isinstance(top, bool) and top >= 1:
        return min(top, n_tokens)
    if isinstance(top, float) and 0 < top <= 1:
        return max(1, int(top * n_tokens + 0.5))
    raise BadOption(
        f"top={top!r} does not say how many tokens to choose. Say 'marked' for as many as people marked, a number such "
        "as 5, or a share of the text such as 0.2."
    )
