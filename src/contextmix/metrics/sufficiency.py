"""Sufficiency: how much does the probability of the prediction fall if only the most important tokens are left?

The tokens with the highest scores, a rationale r, stay alone. If they are enough for the prediction, it hardly falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.removal import By, only, ranking
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
    """The drop of p(ŷ) with the top tokens alone, averaged over several sizes of the rationale; lower is better.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and one variant per bin, and the empty rationale where it counts.
        removable: (token,), True for tokens that may be taken away; the others always stay.
        bins: Sizes of the rationale in per cent of the removable tokens, rounded down.
        divisor: ``"eraser_code"``: the mean over the bins. ``"eraser_paper"``: the mean over the bins and the empty
            rationale. ``"alti"``: the sum over the bins, divided by one more than there are, as if the empty rationale
            lost nothing.
        by: Rank by the number itself, or by its size without the sign.

    Returns:
        Between −1 and 1; the curve has the drop of each bin, and of the empty rationale, ``"0%"``, where it counts.

    Raises:
        BadOption: If a bin is not above 0 and at most 100.

    Source:
        DeYoung et al. (2020), section 4.2. Their formula divides by |B| + 1, their code takes the plain mean. ALTI's
        code also rounds sizes up and takes the largest probability so far in place of each; this does neither.

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # every token that is left adds a quarter
        ...     yes = kept.sum(1) / 4
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> score(np.array([4.0, 3.0, 2.0, 1.0]), predict, np.ones(4, bool), bins=(25, 50)).value
        0.625
    """
    ranked = ranking(scores, removable, by=by)
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    sizes, names = portions(bins, len(ranked.places)), tuple(bins)
    if divisor == "eraser_paper":
        sizes, names = [0, *sizes], (0, *names)
    drops = ask(predict, only(ranked.places, sizes, len(scores))).drops
    entries = len(bins) + (divisor != "eraser_code")
    return Scored(float(drops.sum() / entries), curve=named(names, drops))


METRIC = Metric(
    name="sufficiency",
    title="Sufficiency",
    score=score,
    against="model",
    higher_is_better=False,
    formula="mean over bins of p(ŷ|x) − p(ŷ|the top k % alone)",
    paper=DEYOUNG_2020,
    cost="1 + bins runs of the model",
    bounds=(-1.0, 1.0),
)
