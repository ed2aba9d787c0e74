"""Needle recall: which part of the marked tokens is among the best tenth?

For long texts with a few tokens that are known to hold the answer, such as a needle in a haystack.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.plugins import sources
from contextmix.plugins.contracts import Metric, Scored
from contextmix.plugins.papers import PAN_2026
from contextmix.plugins.rationale import unranked


def score(scores: NDArray[np.float64], rationale: NDArray[np.bool_], *, share: float = 0.1) -> Scored:
    """The part of the marked tokens that is among the tokens with the largest scores.

    Args:
        scores: (token,); of signed scores the most positive come first.
        rationale: (token,), True for the needles.
        share: How many count as the best, as a share of all tokens, rounded up.

    Returns:
        0 to 1; where tokens tie for the last places, the mean over all choices. Where more tokens are marked than count
        as the best, 1 is out of reach. Undefined for constant scores, and where no or every token is marked.

    Raises:
        BadOption: If the share is not above 0 and at most 1.

    Source:
        Pan et al. (2026), FlashTrace: recall of the best 10 % of the tokens, on needles of RULER and HotpotQA. What
        is done with ties there was not established.

    Example:
        >>> score(np.array([0.5, 0.4, 0.3]), np.array([True, False, True])).value
        0.5
    """
    reason = unranked(scores, rationale)
    return Scored(None, reason) if reason else sources.needle_recall(scores, rationale, share=share)


METRIC = Metric(
    name="needle_recall",
    title="Needle recall",
    score=score,
    against="rationale",
    higher_is_better=True,
    formula="marked tokens among the best 10 % / marked tokens",
    paper=PAN_2026,
    cost="n·log n",
    bounds=(0, 1),
)
