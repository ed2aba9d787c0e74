"""One metric and several methods on the same texts: which is best, and which cannot be told apart from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from contextmix.plugins.contracts import Scored
from contextmix.statistics.significance import PairedTest, holm, paired_test
from contextmix.statistics.summaries import FEWEST_FOR_INTERVAL, Interval, Summary, interval, summarise

ALPHA = 0.05
MEAN_ATTENTION = "attention+mean"
BASELINES = {"random": "random scores", "recency": "position alone", MEAN_ATTENTION: "mean attention"}
"""What any method should beat: none of them is called best."""
BLIND = ("random", "recency")
"""The baselines that read nothing of the model."""


@dataclass(frozen=True)
class Entry:
    """One method.

    Attributes:
        method: Its name.
        summary: Mean, and what is undefined and why.
        interval: Of the mean, 95 %.
        out: Why it is not compared with the others; empty where it is.
        test: The best method against this one; None for the best, for those that are out and where there is no best.
        p_value: Of that test, after Holm's correction for all tests of the metric.
    """

    method: str
    summary: Summary
    interval: Interval
    out: str = ""
    test: PairedTest | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Contest:
    """All methods by one metric.

    Attributes:
        metric: Its name.
        higher: Whether more is better.
        entries: In the order given.
        best: The method with the best mean, baselines aside; None where no method has enough texts.
        texts: How many texts there are.
        removal: What stood in the place of a token; empty where all metrics of a comparison share it.
    """

    metric: str
    higher: bool
    entries: Sequence[Entry]
    best: Entry | None
    texts: int
    removal: str = ""

    @property
    def label(self) -> str:
        """The metric, and how tokens were taken away where that differs, such as ``"aopc@mask"``."""
        return f"{self.metric}@{self.removal}" if self.removal else self.metric

    def __getitem__(self, method: str) -> Entry:
        return next(one for one in self.entries if one.method == method)

    @property
    def level(self) -> list[Entry]:
        """The methods that cannot be told apart from the best, without it and without the baselines."""
        found = [one for one in self.entries if one.p_value is not None and one.p_value >= ALPHA]
        return [one for one in found if one.method not in BASELINES]

    @property
    def baselines(self) -> list[Entry]:
        """The baselines that were compared."""
        return [one for one in self.entries if one.method in BASELINES and one.test is not None]

    def beats(self, baseline: str) -> bool | None:
        """Whether the best method is better than a baseline; None where that was not tested."""
        one = next((one for one in self.baselines if one.method == baseline), None)
        if one is None or one.test is None or one.p_value is None or one.test.difference is None:
            return None
        return one.p_value < ALPHA and (one.test.difference > 0) == self.higher

    def not_above(self, baseline: str) -> list[str]:
        """The methods whose mean is no better than a baseline's; none where either is not compared."""
        level = next((one.summary.mean for one in self.baselines if one.method == baseline), None)
        rivals = [one for one in self.entries if one.method not in BASELINES and not one.out]
        if level is None:
            return []
        means = [(one.method, one.summary.mean) for one in rivals if one.summary.mean is not None]
        return [method for method, mean in means if (mean <= level if self.higher else mean >= level)]


def contest(
    metric: str,
    outcomes: Mapping[str, Sequence[Scored]],
    *,
    higher: bool,
    out: Mapping[str, str] | None = None,
    compared: bool = True,
    seed: int = 0,
) -> Contest:
    """Means, intervals, the best method, and a paired test of every other one against it.

    A method takes part if it has a number for at least half as many texts as the one with the most, and for ten.

    Args:
        metric: Its name.
        outcomes: Method → one entry per text, the same texts in the same order.
        higher: Whether more is better.
        out: Method → why it is not compared.
        compared: Whether there is a best one at all.
        seed: Of resampling.

    Example:
        >>> good, bad = ([Scored(level + i / 99) for i in range(20)] for level in (0.5, 0.1))
        >>> result = contest("aopc", {"a": bad, "b": good}, higher=True)
        >>> result.best.method, result["a"].p_value < 0.01
        ('b', True)
    """
    known = {method: summarise(said) for method, said in outcomes.items()}
    most = max((one.count for method, one in known.items() if method not in (out or {})), default=0)
    entries = [
        Entry(
            method, known[method], interval(said, seed=seed), (out or {}).get(method) or _too_few(known[method], most)
        )
        for method, said in outcomes.items()
    ]
    rivals = [one for one in entries if not one.out and one.method not in BASELINES]
    texts = len(next(iter(outcomes.values()), ()))
    if not compared or not rivals:
        return Contest(metric, higher, entries, None, texts)
    best = max(rivals, key=lambda one: (one.summary.mean or 0.0) * (1 if higher else -1))
    tested = _tested(entries, best, outcomes, seed)
    return Contest(metric, higher, tested, best, texts)


def _too_few(one: Summary, most: int) -> str:
    if one.count < FEWEST_FOR_INTERVAL:
        return f"values for only {one.count} texts; {FEWEST_FOR_INTERVAL} are needed"
    return f"values for only {one.count} texts, while others have {most}" if 2 * one.count < most else ""


def _tested(entries: Sequence[Entry], best: Entry, outcomes: Mapping[str, Sequence[Scored]], seed: int) -> list[Entry]:
    """The entries with their tests against the best one."""
    tests = {
        one.method: paired_test(outcomes[best.method], outcomes[one.method], seed=seed)
        for one in entries
        if not one.out and one is not best
    }
    have = [method for method, test in tests.items() if test.p_value is not None]
    corrected = dict(zip(have, holm([tests[method].p_value or 0.0 for method in have]).tolist(), strict=True))
    return [replace(one, test=tests.get(one.method), p_value=corrected.get(one.method)) for one in entries]
