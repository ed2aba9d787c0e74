"""Accuracy while tokens are taken away: how soon is the prediction wrong?

The most important tokens first, a prediction that rests on them is soon lost: less accuracy, better scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contextmix.errors import BadOption
from contextmix.maths.removal import By, Order, ranking, without
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import MODARRESSI_2023
from contextmix.plugins.perturbation import PERCENT, ask, named, portions


def score(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    gold: int | None = None,
    order: Order = "most_first",
    by: By = "value",
    percent: Sequence[float] = PERCENT,
) -> Scored:
    """The share of steps at which the model still says the right class; over examples, the mean accuracy.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and one variant per step.
        removable: (token,), True for tokens that may be taken away.
        gold: The number of the true class; None for the one that the model predicts for the intact example.
        order: The tokens with the highest scores first (less is better), or those with the lowest (more is better).
        by: Rank by the number itself, or by its size without the sign.
        percent: How many of the removable tokens are gone at each step, in per cent, rounded down.

    Returns:
        Between 0 and 1; the curve has 1 or 0 for each step. Undefined where there is a single class, such as the one
        token that a language model is asked for: it would always be the right one.

    Raises:
        BadOption: If there is no such class, or a percentage is not above 0 and at most 100.

    Source:
        Modarressi et al. (2023), section 4: against the gold class.

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # only the first token matters
        ...     yes = np.where(kept[:, 0], 0.9, 0.4)
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> score(np.arange(10.0), predict, np.ones(10, bool), percent=(50, 100)).curve
        {'50%': 1.0, '100%': 0.0}
    """
    ranked = ranking(scores, removable, order=order, by=by)
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    numbers = portions(percent, len(ranked.places))
    said = ask(predict, without(ranked.places, numbers, len(scores)))
    if len(said.intact) < 2:
        return Scored(None, "a single class")
    if gold is not None and not 0 <= gold < len(said.intact):
        raise BadOption(
            f"gold={gold} is no class of this model, which has {len(said.intact)}, counted from 0; every step would "
            "count as wrong. Do the labels of the data match the model's?"
        )
    right = (said.changed.argmax(1) == (said.predicted if gold is None else gold)).astype(np.float64)
    return Scored(float(right.mean()), curve=named(percent, right))


METRIC = Metric(
    name="accuracy_curve",
    title="Accuracy curve",
    score=score,
    against="model",
    higher_is_better=False,
    formula="mean over K of [argmax p(·|x without the top K %) = y]",
    paper=MODARRESSI_2023,
    cost="10 runs of the model",
    bounds=(0.0, 1.0),
    turned_by={"order": "least_first"},
)
