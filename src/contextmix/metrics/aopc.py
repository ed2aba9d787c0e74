"""AOPC, the area over the perturbation curve: how fast does the probability of the prediction fall?

A tenth of the tokens is taken away, two tenths, and so on, the most important ones first. The faster p(ŷ) falls, the
better the scores know what the model reads. Least important first, it should fall slowly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.removal import By, Order, ranking, without
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import MODARRESSI_2023
from contextmix.plugins.perturbation import PERCENT, ask, named, portions


def score(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    order: Order = "most_first",
    by: By = "value",
    percent: Sequence[float] = PERCENT,
) -> Scored:
    """The mean drop of p(ŷ) over steps at which more and more tokens are gone.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and one variant per step.
        removable: (token,), True for tokens that may be taken away.
        order: The tokens with the highest scores first (more is better), or those with the lowest (less is better).
        by: Rank by the number itself, or by its size without the sign.
        percent: How many of the removable tokens are gone at each step, in per cent, rounded down.

    Returns:
        Between −1 and 1; the curve has the drop of each step.

    Raises:
        BadOption: If a percentage is not above 0 and at most 100.

    Source:
        Modarressi et al. (2023), section 4: the mean over the nine steps, the first of which is 10 %. Their code sorts
        equal scores in an order that differs between machines; here the earlier token goes first.

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # only the first token matters
        ...     yes = np.where(kept[:, 0], 0.9, 0.4)
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> perfect, reversed = np.arange(10.0)[::-1], np.arange(10.0)
        >>> (
        ...     round(score(perfect, predict, np.ones(10, bool)).value, 3),
        ...     score(reversed, predict, np.ones(10, bool)).value,
        ... )
        (0.5, 0.0)
    """
    ranked = ranking(scores, removable, order=order, by=by)
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    numbers = portions(percent, len(ranked.places))
    drops = ask(predict, without(ranked.places, numbers, len(scores))).drops
    return Scored(float(drops.mean()), curve=named(percent, drops))


METRIC = Metric(
    name="aopc",
    title="AOPC",
    score=score,
    against="model",
    higher_is_better=True,
    formula="mean over K of p(ŷ|x) − p(ŷ|x without the top K %)",
    paper=MODARRESSI_2023,
    cost="10 runs of the model",
    bounds=(-1.0, 1.0),
    turned_by={"order": "least_first"},
)
