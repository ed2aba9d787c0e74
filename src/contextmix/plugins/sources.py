"""Metrics of sources: do their scores say what a model says of its answer when sources are taken away?

A score per source (a sentence, a document) is compared with log-probabilities of one given answer under ablations:
`lds` with those of random halves of the sources, `top_k_drop`, `necessity` and `sufficiency` with those without, or
with nothing but, the best sources, `needle_recall` with the sources that are known to hold the fact. Nothing here runs
a model. In tables, the `baselines` stand beside every method: more text kept makes most answers likelier, so even
scores of chance have an LDS above zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contextmix.errors import BadOption, NotFinite, WrongShape
from contextmix.maths.correlation import no_correlation, rank_correlation
from contextmix.maths.ranking import hits_at
from contextmix.maths.removal import only, ranking, without
from contextmix.plugins.contracts import Scored

Numbers = NDArray[np.float64]
Masks = NDArray[np.bool_]
Said = Callable[[Masks], Numbers]
"""Which sources are kept (mask, source) → log-probability of the whole answer (mask,)."""

_DIGITS = 10
"""Numbers that agree in so many digits, of the largest, are tied: a sum in another order is no other rank."""


def lds(scores: ArrayLike, masks: Masks, log_probs: ArrayLike, *, count_removed: bool = False) -> Scored:
    """Linear datamodeling score: Spearman's ρ of Σ_{j kept} s_j and log p(answer), over random masks.

    Args:
        scores: (source,).
        masks: (mask, source): which sources are kept, in each about one half; not those that the scores were fitted on.
        log_probs: (mask,): of the answer.
        count_removed: Take out of both what a straight line in the number of kept sources explains, before they are
            ranked. Without this, any positive scores do well wherever more text makes the answer likelier.

    Returns:
        −1 to 1; equal numbers share their mean rank. Undefined for fewer than 3 masks, and where the sums or the
        log-probabilities are all the same, as they are for a single source once its number is taken out.

    Raises:
        WrongShape: If the numbers do not fit the masks.
        NotFinite: If one is NaN or infinite.

    Source:
        Park et al. (2023), "TRAK: Attributing Model Behavior at Scale", definition 2.3; Cohen-Wang et al. (2024),
        "ContextCite", for sources of an answer.

    Example:
        >>> kept = np.array([[True, False], [False, True], [True, True]])
        >>> lds([2.0, 1.0], kept, [-2.0, -3.0, -1.0]).value
        1.0
    """
    own, said = _finite("scores", scores), _finite("log-probabilities", log_probs)
    if masks.shape != (len(said), len(own)):
        raise WrongShape(
            f"{len(own)} scores and {len(said)} log-probabilities need masks ({len(said)}, {len(own)}); got "
            f"{masks.shape}, so a number would be compared with that of another mask."
        )
    predicted, number = masks @ own, masks.sum(1).astype(np.float64)
    if count_removed:
        predicted, said = _without_line(predicted, number), _without_line(said, number)
    predicted, said = _ties(predicted), _ties(said)
    reason = no_correlation(predicted, said).replace("tokens", "masks").replace("reference", "log-probabilities")
    return Scored(None, reason) if reason else Scored(rank_correlation(predicted, said))


def _without_line(values: Numbers, number: Numbers) -> Numbers:
    """The residuals of least squares on 1 and the number, exact zeros where the line explains all but rounding."""
    away = number - number.mean()
    slope = float(away @ values / (away @ away)) if away.any() else 0.0
    left = values - values.mean() - slope * away
    left[np.abs(left) <= 10.0**-_DIGITS * np.abs(values).max(initial=0)] = 0.0
    return np.asarray(left)


def _ties(values: Numbers) -> Numbers:
    largest = np.abs(values).max(initial=0)
    return np.asarray(values if largest == 0 else (values / largest).round(_DIGITS))


def top_k_drop(scores: ArrayLike, said: Said, *, k: int = 1) -> Scored:
    """log p(answer | all sources) − log p(answer | all but the k best), in nats; higher is better.

    Args:
        scores: (source,); of equal ones the first goes first, and if all are equal nothing is measured.
        said: Asked once, for two masks.
        k: How many sources go.

    Returns:
        Any number. Undefined for constant scores, or fewer sources than k.

    Source:
        Cohen-Wang et al. (2024), "ContextCite": the top-k log-probability drop.

    Example:
        >>> top_k_drop([0.0, 3.0], lambda kept: kept @ np.array([1.0, 2.0])).value
        2.0
    """
    order, reason = _best(scores, k)
    if reason:
        return Scored(None, reason)
    whole, less = _asked(said, without(order, [0, k], len(order)))
    return Scored(float(whole - less))


def necessity(scores: ArrayLike, said: Said, *, k: int = 1) -> Scored:
    """Which part of what all sources add is lost without the k best?

        (log p(all) − log p(all but the k best)) / (log p(all) − log p(none))

    Args:
        scores: As for `top_k_drop`.
        said: Asked once, for three masks.
        k: How many sources go.

    Returns:
        1 where they are all that the answer needs, 0 where nothing is lost (others say the same); it may lie beyond
        either. Undefined as `top_k_drop`, and where the sources do not make the answer likelier.

    Example:
        >>> necessity([0.0, 3.0], lambda kept: kept @ np.array([1.0, 3.0])).value
        0.75
    """
    order, reason = _best(scores, k)
    if reason:
        return Scored(None, reason)
    whole, less, none = _asked(said, without(order, [0, k, len(order)], len(order)))
    return _share(whole - less, whole - none)


def sufficiency(scores: ArrayLike, said: Said, *, k: int = 1) -> Scored:
    """Which part of what all sources add do the k best add alone?

        (log p(only the k best) − log p(none)) / (log p(all) − log p(none))

    It is the question of ERASER's sufficiency, asked of sources and of log-probabilities, and higher is better here.

    Args:
        scores: As for `top_k_drop`.
        said: Asked once, for three masks.
        k: How many sources stay.

    Returns:
        1 where they are enough, 0 where they add nothing; it may lie beyond either. Undefined as `necessity`.

    Example:
        >>> sufficiency([0.0, 3.0], lambda kept: kept @ np.array([1.0, 3.0])).value
        0.75
    """
    order, reason = _best(scores, k)
    if reason:
        return Scored(None, reason)
    none, best, whole = _asked(said, only(order, [0, k, len(order)], len(order)))
    return _share(best - none, whole - none)


def needle_recall(scores: ArrayLike, needles: NDArray[np.bool_], *, share: float = 0.1, k: int | None = None) -> Scored:
    """Which part of the needles, known to hold the fact, is among the best sources (or tokens)?

    Args:
        scores: (source,) or (token,).
        needles: The same shape, True for those that hold the fact.
        share: How many count as the best, as a share of all, rounded up.
        k: How many count as the best, instead; 1 with one needle is hit@1.

    Returns:
        0 to 1: over all orders of equal scores, the mean. Undefined without a needle.

    Raises:
        BadOption: If k is not between 1 and the number of scores, or the share not above 0 and at most 1.

    Example:
        >>> needle_recall([0.1, 0.7, 0.2], np.array([False, True, False]), k=1).value
        1.0
    """
    own = _finite("scores", scores)
    if k is None and not 0 < share <= 1:
        raise BadOption(f"share={share!r} is a part of the sources, above 0 and at most 1: 0.1 is a tenth.")
    chosen = ceil(Fraction(str(share)) * len(own)) if k is None else k
    if not 1 <= chosen <= len(own):
        raise BadOption(f"k={chosen} of {len(own)} sources cannot be the best ones; give 1 to {len(own)}.")
    if not needles.any():
        return Scored(None, "no needle")
    hits, chances = hits_at(own, needles, chosen)
    return Scored(float(hits @ chances / needles.sum()))


def baselines(lengths: Sequence[int], seed: int = 0) -> Mapping[str, Numbers]:
    """Scores of sources that know nothing of the answer; no table without them.

    Args:
        lengths: Tokens (or characters) of each source, in the order of the prompt.
        seed: Of *random*.

    Returns:
        *random*: uniform numbers. *recency*: 1/d to 1, the last source the highest. *length*: as a share of the
        longest. *recency + length*: their sum.
    """
    sizes = np.asarray(lengths, dtype=np.float64)
    recent, long = np.arange(1, len(sizes) + 1) / len(sizes), sizes / sizes.max()
    chance = np.random.RandomState(seed).random_sample(len(sizes))
    return {"random": chance, "recency": recent, "length": long, "recency + length": recent + long}


def _finite(name: str, given: ArrayLike) -> Numbers:
    found = np.asarray(given, dtype=np.float64)
    if found.ndim != 1:
        raise WrongShape(f"The {name} have the shape {found.shape}; a metric of sources reads one number for each.")
    if not np.isfinite(found).all():
        raise NotFinite(f"The {name} are NaN or infinite at {np.flatnonzero(~np.isfinite(found)).tolist()}.")
    return found


def _best(scores: ArrayLike, k: int) -> tuple[NDArray[np.intp], str]:
    """The sources, the best first, or why there is no order."""
    own = _finite("scores", scores)
    if k < 1:
        raise BadOption(f"k={k} removes no source. Use at least 1.")
    ranked = ranking(own, np.ones(len(own), dtype=np.bool_))
    reason = "fewer sources than k" if len(own) < k else ranked.undefined.replace("token", "source")
    return ranked.places, reason


def _asked(said: Said, masks: Masks) -> Numbers:
    found = np.asarray(said(masks), dtype=np.float64)
    if found.shape != (len(masks),):
        raise WrongShape(f"{len(masks)} masks were asked and the answer has the shape {found.shape}: one number each.")
    return _finite("log-probabilities", found)


def _share(part: float, whole: float) -> Scored:
    if whole <= 0:
        return Scored(None, "an answer that the sources do not make likelier")
    return Scored(float(part / whole))
