import numpy as np
import pytest
from hypothesis import given
from scipy.stats import spearmanr
from tests.metrics.drawn import mean_ranks, pearson, two_lists

from contextmix.metrics.spearman import score


@given(two_lists())
def test_it_is_pearsons_r_of_the_ranks_and_scipys_number(lists):
    found = score(*lists).value
    assert found == pytest.approx(pearson(*(mean_ranks(one.tolist()) for one in lists)), abs=1e-12)
    assert found == pytest.approx(spearmanr(*lists).statistic, abs=1e-12)


@pytest.mark.parametrize("n", [3, 8, 40])
def test_without_ties_it_is_one_minus_six_squared_distances(n):
    order = np.random.default_rng(n).permutation(n).astype(float)
    distances = sum((order[i] - i) ** 2 for i in range(n))
    assert score(order, np.arange(n, dtype=float)).value == pytest.approx(1 - 6 * distances / (n * (n * n - 1)))


def test_only_the_order_counts_and_reversing_it_turns_the_sign():
    scores, reference = np.array([0.3, -1.0, 0.3, 2.0, 0.1]), np.array([1.0, 0.0, 4.0, 4.0, 2.0])
    found = score(scores, reference).value
    assert score(np.exp(scores), reference).value == found
    assert score(-scores, reference).value == pytest.approx(-found)
    assert score(reference, scores).value == pytest.approx(found)
    assert found not in (0, 1)


def test_what_has_no_ranks_has_a_reason():
    rising, flat = np.array([1.0, 2.0, 3.0]), np.full(3, 0.1)
    assert score(flat, rising).reason == "constant scores"
    assert score(rising, flat).reason == "constant reference"
    assert score(flat, flat).reason == "constant scores"
    assert score(rising[:2], rising[:2]).reason == "fewer than 3 tokens"
    assert score(rising[:0], rising[:0]).value is None
