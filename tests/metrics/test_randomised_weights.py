import numpy as np
import pytest
from hypothesis import given
from scipy.stats import spearmanr
from tests.metrics.drawn import mean_ranks, pearson, two_lists

from contextmix.metrics.randomised_weights import METRIC, score


def size(values: np.ndarray) -> list[float]:
    return [value if value > 0 else -value for value in values.tolist()]


@given(two_lists())
def test_it_correlates_the_ranks_of_sizes(lists):
    sizes = [size(one) for one in lists]
    if any(len(set(one)) == 1 for one in sizes):
        assert score(*lists).value is None
        return
    found = score(*lists).value
    assert found == pytest.approx(pearson(*map(mean_ranks, sizes)), abs=1e-12)
    assert found == pytest.approx(spearmanr(*sizes).statistic, abs=1e-12)


def test_signs_do_not_count():
    scores, random = np.array([0.3, -1.0, 0.2, 2.0]), np.array([1.0, 3.0, -0.5, -4.0])
    assert score(scores, random).value == pytest.approx(1, rel=1e-12)
    assert score(-scores, random).value == pytest.approx(1, rel=1e-12)


def test_scores_that_the_weights_do_not_change_are_the_worst():
    scores = np.random.default_rng(0).normal(size=30)
    unrelated = np.random.default_rng(1).normal(size=30)
    assert not METRIC.higher_is_better
    assert score(scores, scores).value == pytest.approx(METRIC.bounds[1])
    assert abs(score(scores, unrelated).value) < 0.5


def test_sizes_that_are_all_the_same_have_a_reason():
    assert score(np.array([1.0, -1.0, 1.0]), np.array([1.0, 2.0, 3.0])).reason == "constant scores"
    assert score(np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 1.0])).reason == "constant reference"
