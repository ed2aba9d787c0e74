"""How much of its context does a token draw from the cue? The share of the scores that lies on the cue.

The cue is the token that decides a form, such as the noun that a verb agrees with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import MOHEBBI_2023
from contextmix.plugins.rationale import one_sided, share_on


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_]) -> Scored:
    """Scores divided by their sum, times the cue vector ξ of zeros and ones.

    Args:
        scores: (token,), ≥ 0, such as the target's row of a map. Those of negative sign are refused: shares of a sum
            in which numbers cancel are no shares. Take their sizes first if that is meant.
        rationale: (token,), True for the cue.

    Returns:
        0 (nothing on the cue) to 1 (everything). Constant scores give the cue's share of the tokens, which is what
        chance gives. Undefined for negative scores, scores that are all zero, no cue, and a cue that is the whole text.

    Source:
        Value Zeroing (Mohebbi et al. 2023), cue alignment.

    Example:
        >>> score(np.array([1.0, 2.0, 1.0]), np.array([False, True, False])).value
        0.5
    """
    if reason := one_sided(rationale) or _no_shares(scores):
        return Scored(None, reason)
    return Scored(share_on(scores, rationale))


def _no_shares(scores: NDArray[np.float64]) -> str:
    if (scores < 0).any():
        return "negative scores"
    return "" if scores.any() else "all scores are zero"


METRIC = Metric(
    name="cue_dot_product",
    title="Cue dot product",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="(s / Σs) · ξ",
    paper=MOHEBBI_2023,
    cost="n",
    bounds=(0, 1),
)
