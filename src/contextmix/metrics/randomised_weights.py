"""Do the scores need what the model has learnt? Their likeness to the scores of the same model with random weights.

An explanation that hardly changes when the weights are random shows the architecture or the text, not the model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.correlation import no_correlation, rank_correlation
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import ADEBAYO_2018


def score(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> Scored:
    """Spearman's rank correlation of the sizes |s|, because random weights flip signs at random.

    Args:
        scores: (token,), of the trained model.
        reference: (token,), of the same method on the same text and the same model with random weights.

    Returns:
        −1 to 1; lower is better. Scores that depend on the weights are expected near 0; a number far below 0 is a
        dependence too, of the reverse order, and deserves a look. Undefined for constant scores, a constant
        reference, and fewer than 3 tokens.

    Source:
        Adebayo et al. (2018): the model parameter randomisation test, rank correlation of absolute values.

    Example:
        >>> round(score(np.array([0.1, -0.7, 0.2]), np.array([1.0, 3.0, 2.0])).value, 12)
        1.0
    """
    sizes, random_sizes = np.abs(scores), np.abs(reference)
    reason = no_correlation(sizes, random_sizes)
    return Scored(None, reason) if reason else Scored(rank_correlation(sizes, random_sizes))


METRIC = Metric(
    name="randomised_weights",
    title="Randomised weights",
    score=score,
    against="reference",
    higher_is_better=False,
    formula="ρ(|s|, |s of the model with random weights|)",
    paper=ADEBAYO_2018,
    cost="n·log n",
    bounds=(-1, 1),
)
