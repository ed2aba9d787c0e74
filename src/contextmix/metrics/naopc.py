"""NAOPC: where does the AOPC lie between that of the worst and of the best order of this input?

How far the probability can fall differs between models and inputs, and so do their AOPC, whatever the explanation.
Between 0 (no order is worse) and 1 (none is better), models and inputs can be compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.errors import BadOption
from contextmix.maths.bounds import number_within
from contextmix.maths.removal import By, ranking, without
from contextmix.maths.subsets import all_subsets, extreme_orders
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.papers import EDIN_2025
from contextmix.plugins.perturbation import ask

MOST_EXACT = 12
"""The largest number of tokens all of whose sets are asked for: 4,096 of them."""
NO_DIFFERENCE = 1e-9
"""Orders whose AOPC differ by less differ by the rounding of the model."""


def score(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    exact: int = 7,
    beam: int = 5,
    by: By = "value",
) -> Scored:
    """(AOPC − lowest AOPC) / (highest AOPC − lowest AOPC), one token at a time.

    Args:
        scores: (token,).
        predict: Asked for the order of the scores, and for those that the search visits.
        removable: (token,), True for tokens that may be taken away.
        exact: Up to so many of them, the lowest and the highest AOPC are those over all orders: 2ⁿ variants, at most
            12 tokens. Beyond, a beam search looks for them, in at most 2·beam·n²/2 variants.
        beam: How many of the best, and of the worst, sets of tokens go on at each step of the search.
        by: Rank by the number itself, or by its size without the sign.

    Returns:
        0 to 1. The curve has the AOPC of the scores and the two limits. Limits that a beam search
        misses are too narrow, which moves the number away from the middle. Undefined where all orders are alike.

    Raises:
        BadOption: If ``exact`` is not between 0 and 12, or ``beam`` less than 1.

    Source:
        Edin et al. (2025): exact limits for short inputs, beam search for others. Their width of the beam was not
        established.

    Example:
        >>> import numpy as np
        >>> def predict(kept):
        ...     yes = 0.5 + kept @ np.array([0.3, 0.1])
        ...     return np.stack([1 - yes, yes], axis=1)
        >>> [score(np.array(one), predict, np.ones(2, bool)).value for one in ([2.0, 1.0], [1.0, 2.0])]
        [1.0, 0.0]
    """
    if not 0 <= exact <= MOST_EXACT:
        raise BadOption(f"exact={exact!r} tokens would ask for 2 to that power of variants. Give 0 to {MOST_EXACT}.")
    if beam < 1:
        raise BadOption(f"beam={beam!r} follows no order. Give at least 1.")
    ranked = ranking(scores, removable, by=by)
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    n = len(ranked.places)
    steps = without(ranked.places, range(1, n + 1), len(scores))
    if n <= exact:
        own, low, high = _among_all(predict, ranked.places, steps)
    else:
        own, low, high = _among_some(predict, ranked.places, steps, beam)
    if high - low < NO_DIFFERENCE:
        return Scored(None, "all orders are alike")
    value = number_within((own - low) / (high - low), 0, 1, added=n)
    return Scored(value, curve={"AOPC": own, "lowest": low, "highest": high})


def _among_all(predict: Predict, places: NDArray[np.intp], steps: NDArray[np.bool_]) -> tuple[float, float, float]:
    """AOPC of the scores, and the lowest and the highest of all orders."""
    kept = np.ones((2 ** len(places), steps.shape[1]), dtype=np.bool_)
    kept[:, places] = ~all_subsets(len(places))
    drops = ask(predict, kept).drops
    first = [2**number - 1 for number in range(1, len(places) + 1)]  # the sets of the first few places
    return (float(drops[first].mean()), *extreme_orders(drops))


def _among_some(
    predict: Predict, places: NDArray[np.intp], steps: NDArray[np.bool_], beam: int
) -> tuple[float, float, float]:
    """The same, of the orders that two searches visit; that of the scores is one of them."""
    own = float(ask(predict, steps).drops.mean())
    highest, lowest = (_searched(predict, places, steps.shape[1], beam, sign) for sign in (1, -1))
    return own, min(own, lowest), max(own, highest)


def _searched(predict: Predict, places: NDArray[np.intp], n: int, beam: int, sign: int) -> float:
    """The highest (sign 1) or lowest (−1) AOPC that a beam search finds."""
    sums: dict[frozenset[int], float] = {frozenset(): 0.0}
    for _ in places:
        before: dict[frozenset[int], float] = {}
        for gone, total in sums.items():
            for place in map(int, places):
                if place not in gone:
                    grown = gone | {place}
                    before[grown] = max(total, before.get(grown, -np.inf))
        kept = np.ones((len(before), n), dtype=np.bool_)
        for row, gone in zip(kept, before, strict=True):
            row[list(gone)] = False
        drops = ask(predict, kept).drops
        found = {gone: total + sign * drop for (gone, total), drop in zip(before.items(), drops, strict=True)}
        sums = dict(sorted(found.items(), key=lambda one: -one[1])[:beam])
    return sign * max(sums.values()) / len(places)


METRIC = Metric(
    name="naopc",
    title="NAOPC",
    score=score,
    against="model",
    higher_is_better=True,
    formula="(AOPC − lowest AOPC) / (highest AOPC − lowest AOPC), over all orders of the tokens",
    paper=EDIN_2025,
    cost="2ⁿ runs of the model up to 7 tokens, about 5·n² beyond",
    bounds=(0.0, 1.0),
)
