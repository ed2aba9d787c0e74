"""Log-odds: by what factor does the probability of the prediction fall, as a logarithm?

Unlike a difference, it tells 0.01 from 0.0001, where the prediction is lost already.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.removal import By, Order, ranking, without
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import CHEN_2020
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
    """The mean of log p(ŷ|variant) / p(ŷ|x) over steps at which more and more tokens are gone.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and one variant per step.
        removable: (token,), True for tokens that may be taken away.
        order: The tokens with the highest scores first (less is better), or those with the lowest (more is better).
        by: Rank by the number itself, or by its size without the sign.
        percent: How many of the removable tokens are gone at each step, in per cent, rounded down.

    Returns:
        Negative where the prediction loses; natural logarithm. Undefined if a probability is exactly zero.

    Raises:
        BadOption: If a percentage is not above 0 and at most 100.

    Source:
        Chen et al. (2020), section 4, who report one step of 20 % (``percent=(20,)``); over nine steps as in the code
        of Modarressi et al. (2023).

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # every token that is lost halves the probability
        ...     yes = 0.5 ** (~kept).sum(1)
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> score(np.arange(10.0), predict, np.ones(10, bool), percent=(20, 40)).value  # log 1/8
        -2.0794...
    """
    ranked = ranking(scores, removable, order=order, by=by)
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    numbers = portions(percent, len(ranked.places))
    said = ask(predict, without(ranked.places, numbers, len(scores)))
    if (said.parts <= 0).any():
        return Scored(None, "a probability of zero")
    logarithms = np.log(said.parts) - np.log(said.whole)
    return Scored(float(logarithms.mean()), curve=named(percent, logarithms))


METRIC = Metric(
    name="log_odds",
    title="Log-odds",
    score=score,
    against="model",
    higher_is_better=False,
    formula="mean over K of log p(ŷ|x without the top K %) / p(ŷ|x)",
    paper=CHEN_2020,
    cost="10 runs of the model",
    turned_by={"order": "least_first"},
)
