"""How near the top is the first cue? One over its rank; the mean over examples is the MRR."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.bounds import number_within
from contextmix.maths.ranking import rank_of_first
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import YIN_2022
from contextmix.plugins.rationale import unranked


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_]) -> Scored:
    """One over the rank of the first marked token.

    Args:
        scores: (token,); of signed scores the most positive come first.
        rationale: (token,), True for the cue.

    Returns:
        Above 0, and 1 where a marked token is on top; the expected number over all orders of tied tokens. Undefined
        for constant scores, and where no or every token is marked.

    Source:
        Yin & Neubig (2022).

    Example:
        >>> score(np.array([0.5, 0.4, 0.3]), np.array([False, True, True])).value
        0.5
    """
    if reason := unranked(scores, rationale):
        return Scored(None, reason)
    ranks, probabilities = rank_of_first(scores, rationale)
    expected = float(probabilities @ (1 / ranks))
    return Scored(number_within(expected, 0, 1, added=len(ranks)))


METRIC = Metric(
    name="reciprocal_rank",
    title="Reciprocal rank",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="1 / rank of the first marked token",
    paper=YIN_2022,
    cost="n",
    bounds=(0, 1),
)
