"""Does a published order of methods hold on other data? Neighbour by neighbour, with what chance would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise

from contextmix.plugins.scoring import score
from contextmix.statistics.significance import PairedTest, holm, paired_test
from contextmix.statistics.summaries import Outcomes, summarise

ALPHA = 0.05


@dataclass(frozen=True)
class Pair:
    """Two methods on the same texts.

    Attributes:
        first: Name.
        second: Name.
        test: Of first − second.
        p_value: Corrected for the number of all pairs; None where there is none.
    """

    first: str
    second: str
    test: PairedTest
    p_value: float | None

    @property
    def significant(self) -> bool:
        """Whether they differ, at 5 % for all pairs together."""
        return self.p_value is not None and self.p_value < ALPHA


@dataclass(frozen=True)
class Order:
    """A published order on measured numbers.

    Attributes:
        holds: Neighbours in the published order, the better one first, that differ significantly in the same way.
        undecided: Neighbours that do not differ significantly.
        reversed: Neighbours that differ significantly the other way round.
        tau: Kendall's τ-b of published and measured means; None where it is not defined.
    """

    holds: list[tuple[str, str]]
    undecided: list[tuple[str, str]]
    reversed: list[tuple[str, str]]
    tau: float | None

    @property
    def count(self) -> int:
        """The number of neighbours."""
        return len(self.holds) + len(self.undecided) + len(self.reversed)


def pairs(outcomes: Mapping[str, Outcomes], *, seed: int = 0) -> dict[tuple[str, str], Pair]:
    """Paired permutation tests between all methods, in both directions, with Holm's correction for their number.

    Args:
        outcomes: Method → one entry per text, the same texts in the same order.
        seed: Start of the random draws.

    Returns:
        (first, second) → pair, for every two methods that share a text where both are defined.
    """
    tests = {(a, b): paired_test(outcomes[a], outcomes[b], seed=seed) for a, b in combinations(outcomes, 2)}
    tests = {key: test for key, test in tests.items() if test.count}
    tested = [key for key, test in tests.items() if test.p_value is not None]
    corrected = dict(zip(tested, holm([tests[key].p_value or 0.0 for key in tested]).tolist(), strict=True))
    found = {}
    for (a, b), test in tests.items():
        p_value = corrected.get((a, b))
        turned = PairedTest(-(test.difference or 0.0), test.p_value, test.count, test.left_out, test.reason)
        found[a, b], found[b, a] = Pair(a, b, test, p_value), Pair(b, a, turned, p_value)
    return found


def order(
    published: Mapping[str, float], outcomes: Mapping[str, Outcomes], found: Mapping[tuple[str, str], Pair]
) -> Order:
    """A published order, held against measured numbers.

    Args:
        published: Method → mean.
        outcomes: Method → one entry per text. Methods that are defined nowhere are left out of the order.
        found: Of `pairs`.
    """
    means = {name: summarise(outcomes[name]).mean for name in published}
    ranked = sorted((name for name in published if means[name] is not None), key=lambda name: -published[name])
    held = Order([], [], [], score("kendall", [published[n] for n in ranked], [means[n] for n in ranked]).value)
    for better, worse in pairwise(ranked):
        if published[better] == published[worse] or (better, worse) not in found:
            continue  # printed as equal, so there is no order to hold
        pair = found[better, worse]
        same_way = (pair.test.difference or 0.0) > 0
        where = held.undecided if not pair.significant else held.holds if same_way else held.reversed
        where.append((better, worse))
    return held
