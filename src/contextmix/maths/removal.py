"""Tokens taken away in the order of their scores: the order, what is left at each step, and the area under a curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Order = Literal["most_first", "least_first"]
"""Which tokens go first: those with the highest scores, or with the lowest."""

By = Literal["value", "magnitude"]
"""What a high score is: a large number, or one far from zero."""


@dataclass(frozen=True)
class Ranking:
    """The order in which tokens are taken away.

    Attributes:
        places: Positions of the tokens that may be taken away, the first to go first.
        undefined: Why the scores give no order; empty where they do.
    """

    places: NDArray[np.intp]
    undefined: str = ""


def ranking(
    scores: ArrayLike, removable: NDArray[np.bool_], *, order: Order = "most_first", by: By = "value"
) -> Ranking:
    """Order the tokens that may be taken away by their scores.

    Tokens with equal scores go in the order of the text, whichever end comes first, so equal scores are no advantage
    for either end. Scores that are all equal give no order: what came out would be a measure of the text's order.

    Args:
        scores: (token,).
        removable: (token,), True for those that may be taken away.
        order: Which ones go first.
        by: Rank by the number itself, or by its size without the sign.

    Example:
        >>> ranking([9.0, 1.0, 3.0, 1.0], np.array([False, True, True, True])).places
        array([2, 1, 3])
    """
    places = np.flatnonzero(removable)
    values = np.asarray(scores, dtype=np.float64)[removable]
    if by == "magnitude":
        values = np.abs(values)
    if len(values) == 0:
        return Ranking(places, "no token may be removed")
    if not np.isfinite(values).all():
        return Ranking(places, "scores that are not finite")
    if len(values) > 1 and (values == values[0]).all():
        return Ranking(places, "constant scores")
    keys = -values if order == "most_first" else values
    return Ranking(places[np.argsort(keys, kind="stable")])


def counts(percent: Sequence[float], n: int) -> list[int]:
    """⌊K·n⌋ tokens for each percentage, exactly: in floating point 29 % of 100 would be 28.

    Example:
        >>> counts((29, 12.5), 100)
        [29, 12]
    """
    return [int(Fraction(str(one)) * n / 100) for one in percent]


def without(places: NDArray[np.intp], numbers: Sequence[int], n: int) -> NDArray[np.bool_]:
    """Which of n tokens are left when the first few places are taken away, one variant per number: (variant, token).

    Example:
        >>> without(np.array([2, 0]), [0, 1], 3).astype(int)
        array([[1, 1, 1],
               [1, 1, 0]])
    """
    kept = np.ones((len(numbers), n), dtype=np.bool_)
    for row, number in enumerate(numbers):
        kept[row, places[:number]] = False
    return kept


def only(places: NDArray[np.intp], numbers: Sequence[int], n: int) -> NDArray[np.bool_]:
    """Which of n tokens are left when only the first few places stay: (variant, token).

    Tokens that are no place, such as special ones, always stay.

    Example:
        >>> only(np.array([2, 0]), [0, 1], 3).astype(int)
        array([[0, 1, 0],
               [0, 1, 1]])
    """
    kept = np.ones((len(numbers), n), dtype=np.bool_)
    for row, number in enumerate(numbers):
        kept[row, places[number:]] = False
    return kept


def evenly(n: int, steps: int | None) -> list[int]:
    """How many of n tokens are moved up to each step of a curve: 0, 1, …, n, or ⌊i·n / steps⌋ for i from 0 to steps.

    Example:
        >>> evenly(3, None), evenly(9, 4)
        ([0, 1, 2, 3], [0, 2, 4, 6, 9])
    """
    steps = n if steps is None else steps
    return [step * n // steps for step in range(steps + 1)]


def area(numbers: Sequence[int], values: NDArray[np.float64]) -> float:
    """The area under a curve of straight lines, with the axis of the numbers divided by the last one.

    Args:
        numbers: How many tokens were moved up to each step, from 0 upwards.
        values: (step,).

    Example:
        >>> area([0, 1, 4], np.array([0.0, 1.0, 1.0]))
        0.875
    """
    widths = np.diff(np.asarray(numbers, dtype=np.float64)) / numbers[-1]
    return float((widths * (values[1:] + values[:-1]) / 2).sum())
