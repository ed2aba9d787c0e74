"""Are the scores a straight line of a reference? Pearson's correlation of the values, for GlobEnc's figure 4."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.correlation import linear_correlation, no_linear_correlation
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import PEARSON_1895


def score(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> Scored:
    """Covariance over the product of the standard deviations.

    Args:
        scores: (token,).
        reference: (token,).

    Returns:
        −1 to 1. Undefined for constant scores or a constant reference (a spread below 1e-13 of the largest number is
        rounding and counts as none), and for fewer than 3 tokens, whose correlation is −1 or 1 whatever they are.

    Source:
        Pearson (1895). GlobEnc, figure 4, takes it between maps of a layer and of HTA. The number is that of
        ``scipy.stats.pearsonr``.

    Example:
        >>> round(score(np.array([0.1, 0.2, 0.7]), np.array([1.0, 2.0, 7.0])).value, 12)
        1.0
    """
    reason = no_linear_correlation(scores, reference)
    return Scored(None, reason) if reason else Scored(linear_correlation(scores, reference))


METRIC = Metric(
    name="pearson",
    title="Pearson’s r",
    score=score,
    against="reference",
    higher_is_better=True,
    formula="r = Σ(s − s̄)(r − r̄) / √(Σ(s − s̄)² Σ(r − r̄)²)",
    paper=PEARSON_1895,
    cost="n",
    bounds=(-1, 1),
)
