"""A classifier known in full: p(yes) = 1 / (1 + exp(−b − Σ w_i of the tokens that are kept)), and metrics by loops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np


@dataclass
class Bag:
    """Remembers what it was asked, so that a test can look at it."""

    weights: Sequence[float]
    bias: float = 0.0
    asked: list[np.ndarray] = field(default_factory=list)

    def __call__(self, kept: np.ndarray) -> np.ndarray:
        self.asked.append(kept)
        return np.array([self.probabilities(set(np.flatnonzero(row))) for row in kept])

    def probabilities(self, kept: set[int]) -> tuple[float, float]:
        yes = 1 / (1 + math.exp(-self.bias - sum(self.weights[token] for token in sorted(kept))))
        return 1 - yes, yes

    @property
    def everything(self) -> set[int]:
        return set(range(len(self.weights)))

    @property
    def predicted(self) -> int:
        no, yes = self.probabilities(self.everything)
        return int(yes > no)

    def said(self, kept: set[int]) -> float:
        """p(ŷ | the tokens that are kept)."""
        return self.probabilities(kept)[self.predicted]

    def whole(self) -> float:
        return self.said(self.everything)


def sorted_places(scores, removable, order: str = "most_first", by: str = "value") -> list[int]:
    """Tokens in the order in which they go, by comparisons; the earlier one of equals first."""
    sign = -1 if order == "most_first" else 1
    size = abs if by == "magnitude" else float
    return sorted((i for i in range(len(scores)) if removable[i]), key=lambda i: (sign * size(scores[i]), i))


def number(percent: float, n: int) -> int:
    return math.floor(Fraction(str(percent)) * n / 100)


def drops(bag: Bag, places: list[int], percent, keep: bool) -> list[float]:
    """p(ŷ|x) − p(ŷ|variant), one percentage after another."""
    found = []
    for one in percent:
        top = set(places[: number(one, len(places))])
        kept = bag.everything - set(places) | top if keep else bag.everything - top
        found.append(bag.whole() - bag.said(kept))
    return found


def area(bag: Bag, places: list[int], steps: int | None, insert: bool) -> float:
    """Trapezoids, one after another."""
    n, total, last = len(places), 0.0, None
    for step in range((steps or n) + 1):
        count = step * n // (steps or n)
        top = set(places[:count])
        kept = bag.everything - set(places) | top if insert else bag.everything - top
        here = (count / n, bag.said(kept))
        if last is not None:
            total += (here[0] - last[0]) * (here[1] + last[1]) / 2
        last = here
    return total
