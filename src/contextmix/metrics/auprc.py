"""How well do the scores separate marked tokens at any threshold? The area under the precision–recall curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.bounds import number_within
from contextmix.maths.ranking import precision_and_recall
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import DEYOUNG_2020
from contextmix.plugins.rationale import unranked


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_]) -> Scored:
    """The area under straight lines from point to point, from precision 1 at recall 0; ties are one point.

    Args:
        scores: (token,); of signed scores the most positive come first.
        rationale: (token,), True for what people marked.

    Returns:
        Above 0, and 1 where all marked tokens come first. Undefined for constant scores, and where no or every token is
        marked.

    Source:
        ERASER (DeYoung et al. 2020), section 4.1, as its code computes it: ``sklearn.metrics.auc`` of
        ``precision_recall_curve``. That code also counts texts without a marked token; here they are undefined.

    Example:
        >>> score(np.array([0.5, 0.4, 0.3]), np.array([True, False, True])).value
        0.791...
    """
    if reason := unranked(scores, rationale):
        return Scored(None, reason)
    precision, recall = precision_and_recall(scores, rationale)
    heights, widths = np.append(1, precision), np.diff(recall, prepend=0)
    area = float((heights[:-1] + heights[1:]) / 2 @ widths)
    return Scored(number_within(area, 0, 1, added=len(widths)))


METRIC = Metric(
    name="auprc",
    title="AUPRC",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="Σ_k (R_k − R_{k−1})·(P_k + P_{k−1})/2, P_0 = 1, k over the distinct scores from the largest",
    paper=DEYOUNG_2020,
    cost="n·log n",
    bounds=(0, 1),
)
