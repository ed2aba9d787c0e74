"""Comprehensiveness: how much does the probability of the prediction fall without the most important tokens?

The tokens with the highest scores, a rationale r, are taken away. If they made the prediction, little of it is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.removal import By, ranking, without
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import DEYOUNG_2020
from contextmix.plugins.perturbation import ask, named, portions


def score(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    bins: Sequence[float] = (1, 5, 10, 20, 50),
    divisor: Literal["eraser_code", "eraser_paper", "alti"] = "eraser_code",
    by: By = "value",
) -> Scored:
    """The drop of p(ŷ) without the top tokens, averaged over several sizes of the rationale.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and one variant per bin.
        removable: (token,), True for tokens that may be taken away.
        bins: Sizes of the rationale in per cent of the removable tokens, rounded down.
        divisor: By what the sum over the bins is divided: ``"eraser_code"`` by their number, ``"eraser_paper"`` and
            ``"alti"`` by one more, for the empty rationale, whose drop is zero.
        by: Rank by the number itself, or by its size without the sign.

    Returns:
        Between −1 and 1; the curve has the drop of each bin.

    Raises:
        BadOption: If a bin is not above 0 and at most 100.

    Source:
        DeYoung et al. (2020), section 4.2. Their formula divides by |B| + 1, their code takes the plain mean. ALTI's
        code also rounds sizes up and takes the smallest probability so far in place of each; this does neither.

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # every token that is left adds a quarter
        ...     yes = kept.sum(1) / 4
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> score(np.array([4.0, 3.0, 2.0, 1.0]), predict, np.ones(4, bool), bins=(25, 50)).value
        0.375
    """
    ranked = ranking(scores, removable, by=by)
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    sizes = portions(bins, len(ranked.places))
    drops = ask(predict, without(ranked.places, sizes, len(scores))).drops
    entries = len(drops) + (divisor != "eraser_code")
    return Scored(float(drops.sum() / entries), curve=named(bins, drops))


METRIC = Metric(
    name="comprehensiveness",
    title="Comprehensiveness",
    score=score,
    against="model",
    higher_is_better=True,
    formula="mean over bins of p(ŷ|x) − p(ŷ|x without the top k %)",
    paper=DEYOUNG_2020,
    cost="1 + bins runs of the model",
    bounds=(-1.0, 1.0),
)
