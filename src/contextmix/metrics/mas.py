"""Magnitude aligned scoring: does the size of a score say how much the probability of the prediction falls?

Other metrics look at the order of the tokens alone. Here a token with a tenth of all scores should cost a tenth of what
can be lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.bounds import number_within
from contextmix.maths.removal import By, area, ranking, without
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import WALKER_2024
from contextmix.plugins.perturbation import ask, spread


def score(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    steps: int | None = 20,
    by: By = "value",
) -> Scored:
    """The area under r + |r − m| while tokens are taken out, the top one first.

    r is what is left of the probability, from 1 (the intact example) to 0 (the least of all steps), and never rises: at
    each step the least so far counts. m is the share of the scores that the tokens which are left have.

    Args:
        scores: (token,); those below zero count as zero in m.
        predict: Asked once, for the intact example and one variant per step.
        removable: (token,), True for tokens that may be taken out.
        steps: How many times some are taken out, ⌊i·n / steps⌋ of n at step i; None for one token at a time.
        by: Rank by the number itself, or by its size without the sign, which is then also what counts in m.

    Returns:
        0 to 2; the curve has r + |r − m| at each step. Undefined where no step lowers the probability, and where no
        score is positive.

    Raises:
        BadOption: If there is less than one step.

    Source:
        Walker et al. (2024), the deletion test, with tokens for pixels; r is scaled and added to the penalty as in
        FlashTrace (Pan et al. 2026). Walker et al. scale the sum once more, which this does not.

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # the first token is worth twice the second
        ...     yes = 0.25 + kept @ np.array([0.5, 0.25])
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> score(np.array([2.0, 1.0]), predict, np.ones(2, bool), steps=None).value.__round__(3)
        0.417
        >>> score(np.array([9.0, 1.0]), predict, np.ones(2, bool), steps=None).value.__round__(3)
        0.533
    """
    ranked = ranking(scores, removable, by=by)
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    sizes = np.maximum(np.abs(scores) if by == "magnitude" else scores, 0.0)[ranked.places]
    if not sizes.any():
        return Scored(None, "no positive score")
    numbers, names = spread(len(ranked.places), steps)
    left = np.minimum.accumulate(ask(predict, without(ranked.places, numbers, len(scores))).parts)
    if left[0] == left[-1]:
        return Scored(None, "no token lowers the probability")
    left = (left - left[-1]) / (left[0] - left[-1])
    curve = left + np.abs(left - _mass_left(sizes)[numbers])
    found = number_within(area(numbers, curve), 0, 2, added=len(curve))
    return Scored(found, curve=dict(zip(names, curve.tolist(), strict=True)))


def _mass_left(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which share the tokens have that are left when the first 0, 1, …, n are gone, (n + 1,)."""
    with np.errstate(over="ignore"):  # no quotient exceeds 1; see `plugins.rationale.share_on`
        scaled = sizes / sizes.max()
    gone = np.append(0.0, np.cumsum(scaled))
    return np.asarray(1 - gone / gone[-1])


METRIC = Metric(
    name="mas",
    title="MAS",
    score=score,
    against="model",
    higher_is_better=False,
    formula="∫ r + |r − m| d(k/n), r what is left of p(ŷ) without the top k tokens, m what is left of Σ s",
    paper=WALKER_2024,
    cost="21 runs of the model",
    bounds=(0.0, 2.0),
)
