"""Do the marked tokens come first? The average precision of the ranking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.bounds import number_within
from contextmix.maths.ranking import precision_and_recall
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import MOHEBBI_2023
from contextmix.plugins.rationale import unranked


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_]) -> Scored:
    """Precision at every score, weighted by what it adds to recall; tied tokens are taken in one step.

    Args:
        scores: (token,); of signed scores the most positive come first.
        rationale: (token,), True for the cue, or for what people marked.

    Returns:
        Above 0, and 1 where all marked tokens come first. Random scores give about the marked share of the tokens, a
        little more in short texts. Undefined for constant scores, and where no or every token is marked.

    Source:
        Value Zeroing (Mohebbi et al. 2023), cue alignment; the number is that of
        ``sklearn.metrics.average_precision_score``, whose steps are not joined by lines (`auprc` joins them).

    Example:
        >>> score(np.array([0.5, 0.4, 0.3]), np.array([True, False, True])).value
        0.833...
    """
    if reason := unranked(scores, rationale):
        return Scored(None, reason)
    precision, recall = precision_and_recall(scores, rationale)
    average = float(precision @ np.diff(recall, prepend=0))
    return Scored(number_within(average, 0, 1, added=len(recall)))


METRIC = Metric(
    name="average_precision",
    title="Average precision",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="Σ_k (R_k − R_{k−1})·P_k, k over the distinct scores from the largest",
    paper=MOHEBBI_2023,
    cost="n·log n",
    bounds=(0, 1),
)
