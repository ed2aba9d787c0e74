"""What many examples say of a metric: mean, standard deviation and confidence interval.

Undefined examples are counted by their reason and never enter a number. Where there are too few examples the answer is
a reason, never NaN. Random draws start from ``seed``: the same input gives the same numbers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, norm

from contextmix.errors import BadOption, NotFinite
from contextmix.maths.whole import plain
from contextmix.plugins.contracts import Scored

Outcomes = Sequence[Scored | float | None] | NDArray[np.float64]
"""One entry per example; None, or a `Scored` without a value, where the metric is not defined."""

FEWEST_FOR_INTERVAL = 10
"""Below this the resampled means are too alike: 95 % intervals from 3, 5 and 10 normal examples hold the true mean in
76, 85 and 90 % of cases."""
MOST_FOR_BCA = 10_000
"""The jackknife of BCa takes n² steps; with so many examples its correction is far below a sampling error."""
BATCH = 2_000_000  # numbers resampled at once


@dataclass(frozen=True)
class Summary:
    """A metric over examples.

    Attributes:
        mean: Over the examples where it is defined; None where there is none.
        sd: Their standard deviation, of the population (divided by n), as GlobEnc's tables give it.
        count: How many they are.
        undefined: Reason → number of examples without a value.
    """

    mean: float | None
    sd: float | None
    count: int
    undefined: Mapping[str, int]


@dataclass(frozen=True)
class Interval:
    """Bounds for the mean of a metric, had there been other examples of the same kind.

    Attributes:
        low: Lower bound; None where there is no interval.
        high: Upper bound.
        confidence: Between 0 and 1.
        method: How it was made, such as ``"bootstrap, BCa"``.
        reason: Why there is none.
    """

    low: float | None
    high: float | None
    confidence: float
    method: str
    reason: str = ""


def summarise(outcomes: Outcomes) -> Summary:
    """Mean, standard deviation, and what is undefined and why.

    Args:
        outcomes: One per example.

    Raises:
        NotFinite: If a value is NaN or infinite.

    Example:
        >>> summarise([Scored(0.5), Scored(1.0), Scored(None, "constant scores")])
        Summary(mean=0.75, sd=0.25, count=2, undefined={'constant scores': 1})
    """
    values = _defined(outcomes)
    reasons = Counter(_reason(one) for one in outcomes if value_of(one) is None)
    if not len(values):
        return Summary(None, None, 0, dict(reasons))
    return Summary(float(values.mean()), float(values.std()), len(values), dict(reasons))


def interval(outcomes: Outcomes, confidence: float = 0.95, *, resamples: int = 9999, seed: int = 0) -> Interval:
    """Bootstrap confidence interval of the mean.

    Bias-corrected and accelerated (BCa); the percentile interval where BCa does not exist because all values are the
    same (both bounds are that value) or nearly so, and above 10,000 examples. ``method`` says which.

    Args:
        outcomes: One per example; undefined ones are left out.
        confidence: Between 0 and 1.
        resamples: How many samples are drawn with replacement.
        seed: Start of the random draws.

    Raises:
        BadOption: If the confidence is not between 0 and 1, or there are no resamples.
        NotFinite: If a value is NaN or infinite.

    Source:
        Efron (1987), Better Bootstrap Confidence Intervals; ``scipy.stats.bootstrap``.

    Example:
        >>> result = interval([0.1, 0.4, 0.2, 0.3, 0.5, 0.2, 0.1, 0.3, 0.4, 0.5])
        >>> result.method, round(result.low, 1), round(result.high, 1)
        ('bootstrap, BCa', 0.2, 0.4)
    """
    _refuse_confidence(confidence)
    refuse_resamples(resamples)
    values = _defined(outcomes)
    if reason := too_few(len(values), FEWEST_FOR_INTERVAL, "for an interval"):
        return Interval(None, None, confidence, "bootstrap", reason)
    if (values == values[0]).all():  # scipy warns and gives NaN
        return Interval(float(values[0]), float(values[0]), confidence, "bootstrap, percentile")
    for method in ("BCa", "percentile") if len(values) <= MOST_FOR_BCA else ("percentile",):
        low, high = _bootstrap(values, confidence, resamples, seed, method)
        if np.isfinite([low, high]).all():  # BCa does not exist where values differ by rounding alone
            break
    return Interval(low, high, confidence, f"bootstrap, {method}")


def _bootstrap(
    values: NDArray[np.float64], confidence: float, resamples: int, seed: int, method: str
) -> tuple[float, float]:
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)  # it gives NaN, which the caller sees
        found = bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            confidence_level=confidence,
            batch=max(1, BATCH // len(values)),
            vectorized=True,
            method=method,
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


def normal_interval(outcomes: Outcomes, confidence: float = 0.99) -> Interval:
    """Mean ± z·sd/√n with the standard deviation of the population.

    Args:
        outcomes: One per example; undefined ones are left out.
        confidence: Between 0 and 1; at 0.99 z is 2.576.

    Raises:
        BadOption: If the confidence is not between 0 and 1.
        NotFinite: If a value is NaN or infinite.

    Source:
        The bands of GlobEnc, figures 3 and 4, whose code writes z as 2.575.

    Example:
        >>> normal_interval([0.0, 1.0] * 50).high
        0.628...
    """
    _refuse_confidence(confidence)
    values = _defined(outcomes)
    if reason := too_few(len(values), FEWEST_FOR_INTERVAL, "for an interval"):
        return Interval(None, None, confidence, "normal", reason)
    half = norm.ppf((1 + confidence) / 2) * values.std() / np.sqrt(len(values))
    return Interval(float(values.mean() - half), float(values.mean() + half), confidence, "normal")


def value_of(outcome: Scored | float | None) -> float | None:
    """The number of one example, or None."""
    return outcome.value if isinstance(outcome, Scored) else outcome


def _reason(outcome: Scored | float | None) -> str:
    return (outcome.reason if isinstance(outcome, Scored) else "") or "no value"


def _defined(outcomes: Outcomes) -> NDArray[np.float64]:
    """The values of the examples that have one."""
    values = np.array([value for value in map(value_of, outcomes) if value is not None], float)
    refuse_infinite(values)
    return values


def refuse_infinite(*values: NDArray[np.float64]) -> None:
    """NaN would spread into every result.

    Raises:
        NotFinite: If a value is NaN or infinite.
    """
    bad = sum(int((~np.isfinite(one)).sum()) for one in values)
    if bad:
        raise NotFinite(
            f"{bad} of the values are NaN or infinite, and so would be every mean of them. Say None, or a Scored with "
            "a reason, where a metric is not defined."
        )


def _refuse_confidence(confidence: float) -> None:
    share = plain(confidence)
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise BadOption(f"confidence={confidence!r:.80} is not between 0 and 1; 0.95 is usual.")


def refuse_resamples(resamples: int) -> None:
    """A bootstrap or permutation test that draws nothing.

    Raises:
        BadOption: If so.
    """
    if resamples < 1:
        raise BadOption(f"resamples={resamples!r} draws nothing; 9999 is usual.")


def too_few(count: int, fewest: int, purpose: str) -> str:
    """Why so few examples say nothing; empty where they are enough."""
    found = f"{count} example{'' if count == 1 else 's'}"
    return f"{found}: at least {fewest} are needed {purpose}" if count < fewest else ""
