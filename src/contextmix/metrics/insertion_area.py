"""Insertion area: the area under the probability of the prediction while tokens are put in, the top one first.

A large area says that the first tokens are enough for the prediction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.removal import By, only, ranking
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import PETSIUK_2018
from contextmix.plugins.perturbation import area_under


def score(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    steps: int | None = None,
    by: By = "value",
) -> Scored:
    """The area under p(ŷ) from what is left without any removable token to the intact example; higher is better.

    ŷ is what the model predicts for the intact example.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and one variant per step.
        removable: (token,), True for tokens that are put in; the others are there from the start.
        steps: How many times some are put in, ⌊i·n / steps⌋ of n at step i; None for one token at a time.
        by: Rank by the number itself, or by its size without the sign.

    Returns:
        Between 0 and 1. The curve has p(ŷ) at each step, by the number of tokens put in, or, with ``steps``, by their
        share.

    Raises:
        BadOption: If there is less than one step.

    Source:
        Petsiuk et al. (2018), section 4.1, with tokens for pixels; the trapezoidal rule, as in their code. They start
        from a blurred picture, here it is what `predict` puts in the place of tokens.

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # only the first token matters
        ...     yes = np.where(kept[:, 0], 0.75, 0.25)
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> score(np.array([3.0, 1.0]), predict, np.ones(2, bool))
        Scored(value=0.625, reason='', curve={'0': 0.25, '1': 0.75, '2': 0.75})
    """
    return area_under(predict, only, ranking(scores, removable, by=by), len(scores), steps)


METRIC = Metric(
    name="insertion_area",
    title="Insertion area",
    score=score,
    against="model",
    higher_is_better=True,
    formula="∫ p(ŷ|the top k tokens alone) d(k/n)",
    paper=PETSIUK_2018,
    cost="n + 1 runs of the model",
    bounds=(0.0, 1.0),
)
