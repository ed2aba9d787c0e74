"""What experiments say of many examples: means with intervals, and one method against others, in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contextmix.statistics.significance import holm, paired_test
from contextmix.statistics.summaries import Outcomes, interval, summarise

RESAMPLES = 999
"""Samples of a bootstrap where a table has hundreds of intervals; their bounds move in the third digit."""


def outcomes_of(values: NDArray[np.float64]) -> list[float | None]:
    """Numbers (example,) as statistics take them: None where NaN stands for an example without a value."""
    return [None if np.isnan(value) else float(value) for value in values]


def estimated(outcomes: Outcomes, *, confidence: float = 0.95, seed: int = 0) -> dict[str, Any]:
    """Mean, bounds, standard deviation and counts: one line of a table.

    Returns:
        ``mean``, ``low``, ``high``, ``sd``, ``count``, ``undefined`` (examples without a value) and ``reason`` (why
        there are no bounds).

    Example:
        >>> result = estimated([0.25, 0.75, None])
        >>> result["mean"], result["low"], result["undefined"], result["reason"]
        (0.5, None, 1, '2 examples: at least 10 are needed for an interval')
    """
    told = summarise(outcomes)
    bounds = interval(outcomes, confidence, resamples=RESAMPLES, seed=seed)
    return {
        "mean": told.mean,
        "low": bounds.low,
        "high": bounds.high,
        "sd": told.sd,
        "count": told.count,
        "undefined": sum(told.undefined.values()),
        "reason": bounds.reason,
    }


def against(first: str, outcomes: Mapping[str, Outcomes], *, seed: int = 0) -> pd.DataFrame:
    """Paired permutation tests of one method against each of the others, corrected for their number (Holm).

    Args:
        first: The method that is compared.
        outcomes: Method → one entry per example, the same examples in each.
        seed: Start of the random draws.

    Returns:
        Index: the other method. Columns: difference (first − other), p, p_holm, count, left_out, reason.

    Example:
        >>> result = against("a", {"a": [0.9] * 8, "b": [0.5] * 8, "c": [0.9, 0.8] * 4})
        >>> round(float(result.loc["b", "difference"]), 2), result["p_holm"].tolist()
        (0.4, [0.015625, 0.125])
    """
    others = [name for name in outcomes if name != first]
    tests = [paired_test(outcomes[first], outcomes[name], seed=seed) for name in others]
    given = [test.p_value for test in tests if test.p_value is not None]
    corrected = iter(holm(given))
    rows = [
        {
            "difference": test.difference,
            "p": test.p_value,
            "p_holm": None if test.p_value is None else float(next(corrected)),
            "count": test.count,
            "left_out": test.left_out,
            "reason": test.reason,
        }
        for test in tests
    ]
    return pd.DataFrame(rows, index=pd.Index(others, name="method"))


def verdict(first: str, tests: pd.DataFrame, measure: str, *, level: float = 0.05) -> str:
    """A sentence on `against`: which methods have less, more, and neither.

    Example:
        >>> tests = against("a", {"a": [0.9] * 8, "b": [0.5] * 8, "c": [0.9, 0.8] * 4})
        >>> verdict("a", tests, "alignment")
        'a has more alignment than b (Holm, p < 0.05); it does not differ significantly from c.'
    """
    tested = tests[tests["p_holm"].notna()]
    if tested.empty:
        return f"Whether {first} differs in {measure} was not tested: {tests['reason'].iloc[0]}."
    sure = tested["p_holm"] < level
    more, less = (tested.index[sure & (sign * tested["difference"] > 0)] for sign in (1, -1))
    alike = tested.index[~sure]
    parts = [
        f"{word} {measure} than {_listed(names)}" for word, names in (("more", more), ("less", less)) if len(names)
    ]
    said = f"{first} has {' and '.join(parts)} (Holm, p < {level})" if parts else ""
    if len(alike):
        subject = "; it does" if parts else f"{first} does"
        said += f"{subject} not differ significantly{'' if parts else f' in {measure}'} from {_listed(alike)}"
    return said + "."


def short(found: Mapping[str, Any]) -> str:
    """A mean with its bounds as people read it.

    Example:
        >>> short({"mean": 0.5, "low": 0.456, "high": 0.548}), short({"mean": 0.5, "low": None, "high": None})
        ('.50 .46–.55', '.50 –')
    """
    return f"{_number(found['mean'])} {bounds(found)}"


def bounds(found: Mapping[str, Any]) -> str:
    """The bounds alone; a dash where there are none."""
    return "–" if pd.isna(found["low"]) else f"{_number(found['low'])}–{_number(found['high'])}"


def tested(found: Mapping[str, Any]) -> str:
    """A line of `against` as people read it.

    Example:
        >>> tested({"difference": -0.123, "p_holm": 0.0004}), tested({"difference": 0.1, "p_holm": None})
        ('-.123 (p .0004)', '.100 (no test)')
    """
    if pd.isna(found["difference"]):
        return "–"
    p_value = "no test" if pd.isna(found["p_holm"]) else f"p {_number(found['p_holm'], 4)}"
    return f"{_number(found['difference'], 3)} ({p_value})"


def _number(value: float | None, digits: int = 2) -> str:
    """Without the zero before the point, as tables of shares have it."""
    if value is None or pd.isna(value):
        return "–"
    return f"{value:.{digits}f}".replace("0.", ".", 1 if abs(value) < 1 else 0)


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else str(last)
