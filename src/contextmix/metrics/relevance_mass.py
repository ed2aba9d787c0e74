"""Relevance mass: how much of what speaks for the output lies on the marked tokens?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import ARRAS_2022
from contextmix.plugins.rationale import one_sided, share_on


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_]) -> Scored:
    """The positive scores of the marked tokens, divided by all positive scores.

    Args:
        scores: (token,); those below zero count as zero.
        rationale: (token,), True for the evidence.

    Returns:
        0 (nothing on the marked tokens) to 1 (everything). Constant scores above zero give the marked share of the
        tokens, which is what chance gives. Undefined where no score is positive, and where no or every token is marked.

    Source:
        Arras et al. (2022), relevance mass accuracy, with tokens for pixels: of their ways to make one number ≥ 0 of a
        pixel, max(0, s).

    Example:
        >>> score(np.array([1.0, 3.0, -2.0]), np.array([False, True, True])).value
        0.75
    """
    positive = np.maximum(scores, 0.0)
    if reason := one_sided(rationale) or ("" if positive.any() else "no positive score"):
        return Scored(None, reason)
    return Scored(share_on(positive, rationale))


METRIC = Metric(
    name="relevance_mass",
    title="Relevance mass",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="Σ_marked max(s, 0) / Σ max(s, 0)",
    paper=ARRAS_2022,
    cost="n",
    bounds=(0, 1),
)
