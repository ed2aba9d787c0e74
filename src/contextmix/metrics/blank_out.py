"""Blank-out: do the scores rank the tokens as the model does when each is taken away alone?

The faithfulness of the paper on Value Zeroing: Spearman's correlation with p(ŷ|x) − p(ŷ|x without token i).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.correlation import rank_correlation
from contextmix.maths.removal import ranking
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import MOHEBBI_2023
from contextmix.plugins.perturbation import ask


def score(scores: NDArray[np.float64], predict: Predict, removable: NDArray[np.bool_]) -> Scored:
    """The rank correlation of the scores with the drops of p(ŷ) without each token alone; ties share their mean rank.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and one variant per removable token.
        removable: (token,), True for tokens that may be taken away; the others are not ranked.

    Returns:
        Between −1 and 1. Undefined for fewer than three tokens, and where all scores or all drops are equal.

    Source:
        Mohebbi et al. (2023). What stands in a token's place, and whether special tokens count, is not established for
        that paper; here they do not count, and `predict` decides about the place.

    Example:
        >>> import numpy as np
        >>> def predict(kept):
        ...     yes = 0.5 + kept @ np.array([0.1, 0.3, 0.05])
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> round(score(np.array([2.0, 3.0, 1.0]), predict, np.ones(3, bool)).value, 12)
        1.0
    """
    ranked = ranking(scores, removable)
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    places = np.flatnonzero(removable)
    if len(places) < 3:
        return Scored(None, "fewer than 3 tokens")  # two pairs of numbers correlate by 1 or −1, whatever they are
    kept = np.ones((len(places), len(scores)), dtype=np.bool_)
    kept[np.arange(len(places)), places] = False
    drops = ask(predict, kept).drops
    if (drops == drops[0]).all():
        return Scored(None, "constant drops")
    return Scored(rank_correlation(np.asarray(scores, dtype=np.float64)[places], drops))


METRIC = Metric(
    name="blank_out",
    title="Blank-out",
    score=score,
    against="model",
    higher_is_better=True,
    formula="Spearman of s_i and p(ŷ|x) − p(ŷ|x without i)",
    paper=MOHEBBI_2023,
    cost="n + 1 runs of the model",
    bounds=(-1.0, 1.0),
)
