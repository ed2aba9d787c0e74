"""Tokens that stay by chance, more often the higher they score, while the expected number of them is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def unit_scores(scores: Numbers) -> Numbers | None:
    """(s − min) / (max − min), (token,), each between 0 and 1; None where floating point tells no scores apart.

    Example:
        >>> unit_scores(np.array([2.0, 4.0, 3.0])).tolist(), unit_scores(np.array([2.0, 2.0]))
        ([0.0, 1.0, 0.5], None)
    """
    size = np.abs(scores).max(initial=0.0)
    with np.errstate(over="ignore", under="ignore"):  # no quotient exceeds 1; see `metrics.cue_dot_product`
        scaled = scores / size if size > 0 else scores  # the difference of huge numbers would overflow
    spread = np.ptp(scaled) if len(scaled) else 0.0
    return None if spread == 0 else np.asarray((scaled - scaled.min()) / spread)


def kept_with(unit: Numbers, share: float) -> Numbers:
    """With which probability each token is kept, so that their mean is the share.

        share / ā · a                       where share ≤ ā, the mean of a
        1 − (1 − share) / (1 − ā) · (1 − a)    elsewhere

    Args:
        unit: a, (token,), between 0 and 1, the smallest 0 and the largest 1.
        share: Of the tokens that are expected to stay, from 0 to 1.

    Returns:
        (token,), between 0 and 1, in the order of the scores.

    Example:
        >>> kept_with(np.array([0.0, 1.0, 0.5]), 0.25).tolist(), kept_with(np.array([0.0, 1.0, 0.5]), 0.75).tolist()
        ([0.0, 0.5, 0.25], [0.5, 1.0, 0.75])
    """
    mean = unit.mean()
    found = unit * (share / mean) if share <= mean else 1 - (1 - unit) * ((1 - share) / (1 - mean))
    return np.asarray(found)


def drawn(probabilities: Numbers, draws: int, seed: int) -> NDArray[np.bool_]:
    """Which tokens are kept in each draw, (draw, token): each by itself, with its probability.

    Args:
        probabilities: (token,), in the order of their scores rather than of the text, so that the numbers that are
            drawn for a token do not depend on where it stands.
        draws: How many.
        seed: The same one draws the same numbers for all probabilities: curves are compared on equal chances.
    """
    return np.random.RandomState(seed).random_sample((draws, len(probabilities))) < probabilities
