"""Do the top tokens agree with what people marked? Token F1: precision and recall in one number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.maths.bounds import number_within
from contextmix.maths.ranking import hits_at
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import DEYOUNG_2020
from contextmix.plugins.rationale import Top, chosen_number, unranked


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_], *, top: Top = "marked") -> Scored:
    """The harmonic mean of precision and recall of the tokens with the largest scores.

    Args:
        scores: (token,); of signed scores the most positive come first.
        rationale: (token,), True for what people marked.
        top: How many tokens are chosen: ``"marked"``, as many as people marked; a whole number; or a share of the text
            above 0 and up to 1, rounded to the nearest number of tokens and at least one.

    Returns:
        0 (no token in common) to 1 (the same tokens). With ``top="marked"`` it is the precision as well as the recall.
        Where tokens tie for the last places it is the expected
        number over all choices. Undefined for constant scores, where no or every token is marked, and where every
        token is chosen.

    Raises:
        BadOption: If ``top`` is none of these.

    Source:
        ERASER (DeYoung et al. 2020), section 4.1, token F1 of hard rationales. It chooses the mean share that people
        marked in a data set: give that share as ``top``. Its macro average is the mean F1 of the texts.

    Example:
        >>> marked = np.array([True, False, True])
        >>> score(np.array([0.5, 0.4, 0.3]), marked, top=1).value
        0.666...
    """
    marked = int(rationale.sum())
    chosen = chosen_number(top, marked, len(scores))
    if reason := unranked(scores, rationale) or ("every token is chosen" if chosen == len(scores) else ""):
        return Scored(None, reason)
    hits, probabilities = hits_at(scores, rationale, chosen)
    expected = float(probabilities @ (2 * hits / (chosen + marked)))
    return Scored(number_within(expected, 0, 1, added=len(hits)))


METRIC = Metric(
    name="token_f1",
    title="Token F1",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="2·hits / (chosen + marked)",
    paper=DEYOUNG_2020,
    cost="n·log n",
    bounds=(0, 1),
)
