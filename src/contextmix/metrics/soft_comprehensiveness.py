"""Soft comprehensiveness: how much does the probability fall where the better scored tokens go more often?

π-Soft: as many tokens are expected to stay for any scores, so that scores which are large all over win nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.removal import By
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import HUANG_2026
from contextmix.plugins.perturbation import SOFT_PERCENT, softly


def score(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    percent: Sequence[float] = SOFT_PERCENT,
    draws: int = 8,
    seed: int = 0,
    by: By = "value",
) -> Scored:
    """The mean drop of p(ŷ) where each token stays with a probability that falls with its score; higher is better.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and ``draws`` variants per percentage.
        removable: (token,), True for tokens that may be taken away.
        percent: How many of the removable tokens are expected to stay, in per cent: π.
        draws: Variants for each π.
        seed: Of the draws; the same numbers serve all π and all methods.
        by: Take the number itself, or its size without the sign.

    Returns:
        Between −1 and 1; the curve has the mean drop of each π.

    Raises:
        BadOption: If a percentage is not above 0 and at most 100, or there is less than one draw.

    Source:
        Huang & Chan (2026), after Zhao & Aletras (2023): each token goes by itself, by chance, and the scores are
        scaled so that the expected share of those that stay is π. How they scale is not established: here as in
        `contextmix.maths.soft.kept_with`. The drop is neither cut off at zero nor divided by that of an empty text,
        so it stays a number for texts whose drop is zero.

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # only the first token matters
        ...     yes = np.where(kept[:, 0], 0.9, 0.4)
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> good, bad = np.array([9.0, 1.0, 0.0, 2.0]), np.array([0.0, 1.0, 9.0, 2.0])
        >>> [score(one, predict, np.ones(4, bool), draws=200).value.__round__(1) for one in (good, bad)]
        [0.4, 0.2]
    """
    return softly(scores, predict, removable, percent=percent, draws=draws, seed=seed, by=by, best_stay=False)


METRIC = Metric(
    name="soft_comprehensiveness",
    title="Soft comprehensiveness",
    score=score,
    against="model",
    higher_is_better=True,
    formula="mean over π of E[p(ŷ|x) − p(ŷ|x̃)], token i of x̃ kept with probability q_i(−s), mean q = π",
    paper=HUANG_2026,
    cost="41 runs of the model",
    bounds=(-1.0, 1.0),
)
