"""Do the scores order pairs of tokens as a reference does? Kendall's τ-b."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from contextmix.maths.correlation import no_correlation
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import KENDALL_1945


def score(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> Scored:
    """Pairs in the same order minus pairs in the other order, with the correction for ties (τ-b).

    Args:
        scores: (token,).
        reference: (token,).

    Returns:
        −1 (every pair the other way round) to 1 (every pair the same way). Undefined for constant scores, a constant
        reference, and fewer than 3 tokens, whose correlation is −1 or 1 whatever the numbers are.

    Source:
        Kendall (1945). The number is that of ``scipy.stats.kendalltau``.

    Example:
        >>> score(np.array([0.1, 0.2, 0.7]), np.array([1.0, 3.0, 2.0])).value
        0.333...
    """
    reason = no_correlation(scores, reference)
    # The p-value that comes with it is not used; the asymptotic one is the cheapest.
    return Scored(None, reason) if reason else Scored(float(kendalltau(scores, reference, method="asymptotic")[0]))


METRIC = Metric(
    name="kendall",
    title="Kendall’s τ",
    score=score,
    against="reference",
    higher_is_better=True,
    formula="τ_b = (concordant − discordant) / √((pairs − ties in s)·(pairs − ties in r))",
    paper=KENDALL_1945,
    cost="n·log n",
    bounds=(-1, 1),
)
