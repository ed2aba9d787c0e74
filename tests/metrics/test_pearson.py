import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from tests.metrics.drawn import pearson, two_lists

from contextmix.metrics.pearson import score


@given(two_lists())
def test_it_is_the_papers_sum_and_scipys_number(lists):
    found = score(*lists).value
    assert found == pytest.approx(pearson(*(one.tolist() for one in lists)), abs=1e-9)
    assert found == pytest.approx(pearsonr(*lists).statistic, abs=1e-9)


@given(two_lists(), st.sampled_from([2.0**-900, 2.0**-20, 2.0**900]))
def test_units_do_not_count_however_small_or_large(lists, unit):
    scores, reference = lists
    assert score(scores * unit, reference).value == pytest.approx(score(scores, reference).value, abs=1e-9)


def test_a_straight_line_is_one_and_a_square_is_not():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert score(7 - 2 * x, x).value == pytest.approx(-1)
    assert score(x * x, x).value == pytest.approx(25 / np.sqrt(5 * 129))  # Σ(x−x̄)(y−ȳ) = 25, spreads 5 and 129


def test_what_does_not_vary_has_a_reason():
    rising, flat = np.array([1.0, 2.0, 3.0]), np.full(3, 0.1)
    rounding = np.array([0.1, np.nextafter(0.1, 1), 0.1])
    assert score(flat, rising).reason == "constant scores"
    assert score(rising, flat).reason == "constant reference"
    assert score(rounding, rising).reason == "constant scores"
    assert score(rising, rounding).reason == "constant reference"
    assert score(rising[:2], rising[:2]).reason == "fewer than 3 tokens"
    assert score(1 + 1e-9 * rising, rising).value == pytest.approx(1)  # little, but far above rounding
