"""Where do the marked tokens stand when tokens are sorted by score, the largest first?

Tokens with equal scores have no order. Nothing here invents one: a curve takes them in one step, and a rank or a number
of hits comes as its distribution over all orders of the tied tokens, each as likely as any other. So the order of the
tokens in the text never decides.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Marks = NDArray[np.bool_]


def precision_and_recall(scores: Numbers, marked: Marks) -> tuple[Numbers, Numbers]:
    """Precision and recall of "all tokens with a score of at least this", for every score, the largest first.

    Args:
        scores: (token,).
        marked: (token,), at least one True.

    Returns:
        Precision and recall, each (distinct score,), between 0 and 1; recall rises to 1.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(marked[order])[last_of_ties]
    return hits / (last_of_ties + 1), hits / marked.sum()


def hits_at(scores: Numbers, marked: Marks, chosen: int) -> tuple[Numbers, Numbers]:
    """How many marked tokens are among the ``chosen`` with the largest scores.

    Those above the smallest chosen score are in; the places that are left go to tokens of that score, drawn without
    replacement (hypergeometric).

    Args:
        scores: (token,).
        marked: (token,).
        chosen: From 1 to the number of tokens.

    Returns:
        Numbers of hits and their probabilities, each (outcome,).
    """
    smallest = np.sort(scores)[-chosen]
    above, tied = scores > smallest, scores == smallest
    places = chosen - int(above.sum())
    n_tied, n_marked = int(tied.sum()), int(marked[tied].sum())
    drawn = range(min(places, n_marked) + 1)  # where too few are unmarked, there are 0 ways
    ways = [comb(n_marked, k) * comb(n_tied - n_marked, places - k) / comb(n_tied, places) for k in drawn]
    return int(marked[above].sum()) + np.array(drawn, float), np.array(ways)


def rank_of_first(scores: Numbers, marked: Marks) -> tuple[Numbers, Numbers]:
    """The rank of the first marked token, counted from 1.

    Args:
        scores: (token,).
        marked: (token,), at least one True.

    Returns:
        Ranks and their probabilities, each (outcome,).
    """
    best = scores[marked].max()
    n_above, tied = int((scores > best).sum()), scores == best
    n_tied, n_marked = int(tied.sum()), int(marked[tied].sum())
    before = range(n_tied - n_marked + 1)  # how many unmarked ones of the tie come first
    ways = [comb(n_tied - k - 1, n_marked - 1) / comb(n_tied, n_marked) for k in before]
    return n_above + 1 + np.array(before, float), np.array(ways)
