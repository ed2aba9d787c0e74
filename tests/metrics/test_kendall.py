from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from scipy.stats import kendalltau
from tests.metrics.drawn import two_lists

from contextmix.metrics.kendall import score


def longhand(scores: list[float], reference: list[float]) -> float:
    """Kendall (1945), pair by pair."""
    agree = differ = untied_scores = untied_reference = 0
    for i, j in combinations(range(len(scores)), 2):
        a, b = scores[i] - scores[j], reference[i] - reference[j]
        untied_scores += a != 0
        untied_reference += b != 0
        agree += (a > 0 and b > 0) or (a < 0 and b < 0)
        differ += (a > 0 and b < 0) or (a < 0 and b > 0)
    return (agree - differ) / sqrt(untied_scores * untied_reference)


@given(two_lists())
def test_it_counts_pairs_and_is_scipys_number(lists):
    found = score(*lists).value
    assert found == pytest.approx(longhand(*(one.tolist() for one in lists)), abs=1e-12)
    assert found == pytest.approx(kendalltau(*lists).statistic, abs=1e-12)


@pytest.mark.parametrize("n", [3, 10, 50])
def test_one_swap_of_neighbours_is_one_pair(n):
    order = np.arange(n, dtype=float)
    order[[0, 1]] = order[[1, 0]]
    assert score(order, np.arange(n, dtype=float)).value == pytest.approx(1 - 4 / (n * (n - 1)))


def test_what_has_no_order_has_a_reason():
    rising, flat = np.array([1.0, 2.0, 3.0]), np.full(3, 0.1)
    assert score(flat, rising).reason == "constant scores"
    assert score(rising, flat).reason == "constant reference"
    assert score(rising[:2], rising[:2]).reason == "fewer than 3 tokens"
