"""Do the top tokens overlap with what people marked? Intersection over union of the two sets of tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.bounds import number_within
from contextmix.maths.ranking import hits_at
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import DEYOUNG_2020
from contextmix.plugins.rationale import Top, chosen_number, unranked


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_], *, top: Top = "marked") -> Scored:
    """Tokens in both sets over tokens in either.

    Args:
        scores: (token,); of signed scores the most positive come first.
        rationale: (token,), True for what people marked.
        top: How many tokens are chosen: ``"marked"``, as many as people marked; a whole number; or a share of the text
            above 0 and up to 1, rounded to the nearest number of tokens and at least one.

    Returns:
        0 (no token in common) to 1 (the same tokens). Where tokens tie for the last places it is the expected
        number over all choices. Undefined for constant scores, where no or every token is marked, and where every
        token is chosen.

    Raises:
        BadOption: If ``top`` is none of these.

    Source:
        ERASER (DeYoung et al. 2020), section 4.1: intersection over union at token level. ERASER counts spans whose
        overlap is at least one half; this is the number itself, for all tokens of a text, without a threshold.

    Example:
        >>> marked = np.array([True, False, True])
        >>> score(np.array([0.5, 0.4, 0.3]), marked, top=1).value
        0.5
    """
    marked = int(rationale.sum())
    chosen = chosen_number(top, marked, len(scores))
    if reason := unranked(scores, rationale) or ("every token is chosen" if chosen == len(scores) else ""):
        return Scored(None, reason)
    hits, probabilities = hits_at(scores, rationale, chosen)
    expected = float(probabilities @ (hits / (chosen + marked - hits)))
    return Scored(number_within(expected, 0, 1, added=len(hits)))


METRIC = Metric(
    name="token_iou",
    title="Token IoU",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="hits / (chosen + marked − hits)",
    paper=DEYOUNG_2020,
    cost="n·log n",
    bounds=(0, 1),
)
