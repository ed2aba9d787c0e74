"""Do the scores order the tokens as a reference does? Spearman's rank correlation, the measure of GlobEnc's tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.correlation import no_correlation, rank_correlation
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import SPEARMAN_1904


def score(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> Scored:
    """Pearson's correlation of the ranks; tied tokens share their mean rank.

    Args:
        scores: (token,).
        reference: (token,).

    Returns:
        −1 (the reverse order) to 1 (the same order). Undefined for constant scores, a constant reference, and fewer
        than 3 tokens, whose correlation is −1 or 1 whatever the numbers are.

    Source:
        Spearman (1904). GlobEnc, tables 1 and 2, takes it between a row of a map and the saliency of the same tokens,
        special ones included. The number is that of ``scipy.stats.spearmanr``.

    Example:
        >>> round(score(np.array([0.1, 0.2, 0.7]), np.array([1.0, 2.0, 3.0])).value, 12)
        1.0
    """
    reason = no_correlation(scores, reference)
    return Scored(None, reason) if reason else Scored(rank_correlation(scores, reference))


METRIC = Metric(
    name="spearman",
    title="Spearman’s ρ",
    score=score,
    against="reference",
    higher_is_better=True,
    formula="ρ = Pearson's r of the ranks of s and r",
    paper=SPEARMAN_1904,
    cost="n·log n",
    bounds=(-1, 1),
)
