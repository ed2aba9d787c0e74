"""Recovery: the area under the probability of the prediction while the best embeddings are put back.

The standard for decoders in 2026: `insertion_area` in ten cuts, with zeros in the place of
embeddings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.removal import By, only, ranking
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import JANTSCH_2026
from contextmix.plugins.perturbation import area_under


def score(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    steps: int | None = 10,
    by: By = "value",
) -> Scored:
    """The area under p(ŷ) while all embeddings but those of the best p % are zeroed; higher is better.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and one variant per step. In a run and a comparison it zeroes the
            embeddings, whatever ``removal`` the other metrics have; give one with ``removal="zero"``.
        removable: (token,), True for tokens whose embeddings are zeroed; the others are there from the start.
        steps: How many cuts, ⌊i·n / steps⌋ of n tokens at cut i; None for one token at a time.
        by: Rank by the number itself, or by its size without the sign.

    Returns:
        Between 0 and 1; the curve has p(ŷ) at each cut.

    Raises:
        BadOption: If there is less than one step.

    Source:
        Jantsch et al. (2026), Dual Path Attribution: ten cuts on question answering with decoders. By what they divide
        the area was not established; here it is that of p(ŷ) itself, by trapezoids.

    Example:
        >>> import numpy as np
        >>> def predict(kept):  # only the first token matters
        ...     yes = np.where(kept[:, 0], 0.75, 0.25)
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> score(np.array([3.0, 1.0]), predict, np.ones(2, bool), steps=2).value
        0.625
    """
    return area_under(predict, only, ranking(scores, removable, by=by), len(scores), steps)


METRIC = Metric(
    name="recovery",
    title="Recovery",
    score=score,
    against="model",
    higher_is_better=True,
    formula="∫ p(ŷ|x, all but the top p % of the embeddings zeroed) dp",
    paper=JANTSCH_2026,
    cost="11 runs of the model",
    bounds=(0.0, 1.0),
    removal="zero",
)
