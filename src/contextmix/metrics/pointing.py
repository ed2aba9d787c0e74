"""The pointing game: is the best token a marked one?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.errors import BadOption
from contextmix.maths.bounds import number_within
from contextmix.maths.ranking import hits_at
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import ZHANG_2018
from contextmix.plugins.rationale import unranked


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_], *, k: int = 1) -> Scored:
    """1 if a marked token is among the k with the largest scores, else 0.

    Args:
        scores: (token,); of signed scores the most positive come first.
        rationale: (token,), True for what people marked.
        k: How many tokens are pointed at.

    Returns:
        0 or 1; where tokens tie for the last places, the chance of a hit over all choices. Undefined for constant
        scores, where no or every token is marked, and where every token is pointed at.

    Raises:
        BadOption: If k is less than 1.

    Source:
        Zhang et al. (2018), for the largest pixel of an image; without their tolerance around the marked place, since
        a token beside the marked one is another word.

    Example:
        >>> score(np.array([0.5, 0.5, 0.3]), np.array([True, False, False])).value
        0.5
    """
    if k < 1:
        raise BadOption(f"k={k!r} points at no token. Give at least 1.")
    if reason := unranked(scores, rationale) or ("every token is chosen" if k >= len(scores) else ""):
        return Scored(None, reason)
    hits, chances = hits_at(scores, rationale, k)
    return Scored(number_within(float(chances[hits > 0].sum()), 0, 1, added=len(hits)))


METRIC = Metric(
    name="pointing",
    title="Pointing game",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="[a marked token is among the k best]",
    paper=ZHANG_2018,
    cost="n·log n",
    bounds=(0, 1),
)
