"""Texts with scores that hypothesis draws, with many ties, and the sums of the papers written as loops."""

from __future__ import annotations

from itertools import permutations
from math import fsum, sqrt

import numpy as np
from hypothesis import strategies as st
from tests.metrics.bag_of_words import Bag

# Halves from −3 to 3 tie often; the other floats nearly never do.
numbers = st.integers(-6, 6).map(lambda k: k / 2) | st.floats(-1e3, 1e3, allow_subnormal=False)


@st.composite
def two_lists(draw: st.DrawFn, least: int = 3, most: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Scores and a reference, neither of them constant."""
    n = draw(st.integers(least, most))
    lists = st.lists(numbers, min_size=n, max_size=n).filter(lambda one: max(one) - min(one) > 1e-6)
    return np.array(draw(lists)), np.array(draw(lists))


@st.composite
def marked_texts(draw: st.DrawFn, most: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are not constant, and marks of which some are True and some False."""
    n = draw(st.integers(2, most))
    scores = draw(st.lists(numbers, min_size=n, max_size=n).filter(lambda one: len(set(one)) > 1))
    marks = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda one: any(one) and not all(one)))
    return np.array(scores), np.array(marks)


def marks(text: str) -> np.ndarray:
    """``"x.x"``: the first and the third token are marked."""
    return np.array([one == "x" for one in text])


def pearson(first: list[float], second: list[float]) -> float:
    """Pearson (1895), term by term."""
    n = len(first)
    mean_1, mean_2 = fsum(first) / n, fsum(second) / n
    together = fsum((first[i] - mean_1) * (second[i] - mean_2) for i in range(n))
    spread_1, spread_2 = (fsum((x - m) ** 2 for x in xs) for xs, m in ((first, mean_1), (second, mean_2)))
    return together / sqrt(spread_1) / sqrt(spread_2)


def mean_ranks(values: list[float]) -> list[float]:
    """1 for the smallest; tied values share the mean of their ranks."""
    return [sum(other < one for other in values) + (1 + sum(other == one for other in values)) / 2 for one in values]


def orders(scores: np.ndarray) -> list[tuple[int, ...]]:
    """Every order of the tokens in which no score is larger than the one before."""
    n = len(scores)
    return [o for o in permutations(range(n)) if all(scores[o[i]] >= scores[o[i + 1]] for i in range(n - 1))]


@st.composite
def short_texts(draw: st.DrawFn, most: int = 9) -> tuple[Bag, np.ndarray, np.ndarray]:
    """A bag of words, scores with ties and constants, and which tokens may go: from none to all."""
    n = draw(st.integers(1, most))
    halves = st.integers(-6, 6).map(lambda k: k / 2)
    lists = st.lists(halves, min_size=n, max_size=n)
    scores = draw(lists | halves.map(lambda one: [one] * n))
    removable = draw(st.lists(st.booleans(), min_size=n, max_size=n) | st.just([True] * n))
    return Bag(draw(lists), draw(halves)), np.array(scores), np.array(removable)
