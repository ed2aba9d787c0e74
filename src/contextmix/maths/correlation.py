"""How alike are two lists of numbers? Correlation of values and of ranks, for one example.

No number is made where none exists: `no_correlation` says why.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from contextmix.maths.bounds import number_within

Numbers = NDArray[np.float64]
ROUNDING = 1e-13  # of the largest number: what varies less is rounding, as scipy.stats.pearsonr has it


def no_correlation(scores: Numbers, reference: Numbers) -> str:
    """Why two lists (token,) have no correlation; empty where they have one.

    Two tokens are too few: the correlation of any two pairs of numbers is −1 or 1, whatever they are.
    """
    if len(scores) < 3:
        return "fewer than 3 tokens"
    return next((f"constant {name}" for name, one in _named(scores, reference) if one.min() == one.max()), "")


def no_linear_correlation(scores: Numbers, reference: Numbers) -> str:
    """The same for values instead of ranks: a list that varies by its rounding alone counts as constant."""
    flat = (name for name, one in _named(scores, reference) if np.abs(centred(one)).max(initial=0) < ROUNDING)
    return no_correlation(scores, reference) or next((f"constant {name}" for name in flat), "")


def _named(scores: Numbers, reference: Numbers) -> tuple[tuple[str, Numbers], ...]:
    return ("scores", scores), ("reference", reference)


def centred(numbers: Numbers) -> Numbers:
    """x / max|x| minus its mean: free of units, so that no square overflows or vanishes."""
    largest = np.abs(numbers).max(initial=0)
    scaled = numbers / largest if largest > 0 else numbers
    return np.asarray(scaled - scaled.mean())


def linear_correlation(first: Numbers, second: Numbers) -> float:
    """Pearson's r = Σ(x − x̄)(y − ȳ) / √(Σ(x − x̄)² Σ(y − ȳ)²), −1 to 1; neither list is constant."""
    left, right = (part / np.linalg.norm(part) for part in (centred(first), centred(second)))
    return number_within(float(left @ right), -1, 1, added=len(left))


def rank_correlation(first: Numbers, second: Numbers) -> float:
    """Spearman's ρ: Pearson's r of the ranks, where ties share their mean rank; neither list is constant."""
    return linear_correlation(rankdata(first), rankdata(second))
