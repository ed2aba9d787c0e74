"""How many wrong tokens does one look at before the first cue, the highest score first?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.ranking import rank_of_first
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import YIN_2022
from contextmix.plugins.rationale import unranked


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_]) -> Scored:
    """The number of tokens looked at before the first marked one.

    Args:
        scores: (token,); of signed scores the most positive come first.
        rationale: (token,), True for the cue.

    Returns:
        0 (a marked token is on top) or more; the expected number over all orders of tied tokens. Undefined for
        constant scores, and where no or every token is marked.

    Source:
        Yin & Neubig (2022). Code of later papers ranks ties densely (equal scores count as one probe);
        the numbers differ only where tokens tie.

    Example:
        >>> score(np.array([0.5, 0.4, 0.3]), np.array([False, False, True])).value
        2.0
    """
    if reason := unranked(scores, rationale):
        return Scored(None, reason)
    ranks, probabilities = rank_of_first(scores, rationale)
    return Scored(float((ranks - 1) @ probabilities))


METRIC = Metric(
    name="probes_needed",
    title="Probes needed",
    score=score,
    against="rationale",
    higher_is_better=False,
    formula="rank of the first marked token − 1",
    paper=YIN_2022,
    cost="n",
    bounds=(0, None),
)
