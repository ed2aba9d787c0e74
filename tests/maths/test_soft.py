import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextmix.maths.soft import drawn, kept_with, unit_scores

units = st.lists(st.integers(0, 8), min_size=1, max_size=9).map(lambda own: np.array([0, 8, *own]) / 8)


@given(unit=units, share=st.integers(0, 20).map(lambda twentieth: twentieth / 20))
def test_probabilities_have_the_mean_that_is_asked_for_and_the_order_of_the_scores(unit, share):
    found = kept_with(unit, share)
    assert found.mean() == pytest.approx(share, abs=1e-12)
    assert found.min() >= -1e-12
    assert found.max() <= 1 + 1e-12
    for one, other in zip(found, unit, strict=True):
        assert all(one >= found[unit < other] - 1e-12)


@given(unit=units, share=st.integers(1, 19).map(lambda twentieth: twentieth / 20))
def test_probabilities_by_hand(unit, share):
    """Either every score is stretched from zero, or every distance to one is."""
    mean = sum(unit) / len(unit)
    wanted = [one * share / mean if share <= mean else 1 - (1 - one) * (1 - share) / (1 - mean) for one in unit]
    assert kept_with(unit, share).tolist() == pytest.approx(wanted, abs=1e-12)


def test_the_smallest_score_is_0_and_the_largest_1():
    assert unit_scores(np.array([-2.0, 6.0, 0.0])).tolist() == [0, 1, 0.25]
    assert unit_scores(np.array([-1.7e308, 1.7e308, 0.0])).tolist() == [0, 1, 0.5]
    for none in (np.array([3.0, 3.0]), np.zeros(2), np.array([])):
        assert unit_scores(none) is None


def test_each_token_is_drawn_with_its_probability_and_by_itself():
    kept = drawn(np.array([0.0, 0.2, 0.8, 1.0]), 20_000, seed=3)
    assert kept.shape == (20_000, 4)
    assert kept.mean(0) == pytest.approx([0, 0.2, 0.8, 1], abs=0.01)
    assert (kept[:, 1] & kept[:, 2]).mean() == pytest.approx(0.16, abs=0.01)
    assert np.array_equal(kept, drawn(np.array([0.0, 0.2, 0.8, 1.0]), 20_000, seed=3))
    assert not np.array_equal(kept, drawn(np.array([0.0, 0.2, 0.8, 1.0]), 20_000, seed=4))
