"""What thoughts pass on, longhand: one walk at a time, and no mass made or lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextmix.maths.relayed import relayed


def example(seed: int, tokens: int = 9, zero: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What three units drew, with signs; what four thoughts drew; where these stand. Marks stand between them."""
    random = np.random.default_rng(seed)
    places = np.sort(random.choice(np.arange(2, tokens - 1), 4, replace=False))
    rows = np.zeros((4, tokens))
    for row, place in zip(rows, places, strict=True):
        row[:place] = random.normal(size=place)
        row[0] = abs(row[0])  # something positive
    if zero is not None:
        rows[zero] = -np.abs(rows[zero])
    return random.normal(size=(3, tokens)), rows, places


def by_walks(drawn: np.ndarray, rows: np.ndarray, places: np.ndarray, hops: float) -> np.ndarray:
    """Each number that lies on a thought is carried on by itself, in scalars."""
    number = {int(place): thought for thought, place in enumerate(places)}
    found = np.zeros_like(drawn)

    def carry(unit: int, token: int, mass: float, left: float) -> None:
        thought = number.get(token)
        total = 0.0 if thought is None else sum(max(one, 0.0) for one in rows[thought])
        if thought is None or left == 0 or total == 0:
            found[unit, token] += mass
            return
        for source in range(token):
            if rows[thought, source] > 0:
                carry(unit, source, mass * rows[thought, source] / total, left - 1)

    for unit in range(drawn.shape[0]):
        for token in range(drawn.shape[1]):
            carry(unit, token, float(drawn[unit, token]), hops)
    return found


@pytest.mark.parametrize("hops", [0, 1, 2, 3, "all"])
@pytest.mark.parametrize("zero", [None, 0, 2])
def test_it_is_the_sum_of_all_walks(hops, zero):
    for seed in range(5):
        drawn, rows, places = example(seed, zero=zero)
        expected = by_walks(drawn, rows, places, np.inf if hops == "all" else hops)
        np.testing.assert_allclose(relayed(drawn, rows, places, hops), expected, rtol=0, atol=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([0, 1, 2, 7, "all"]), st.sampled_from([None, 0, 3]))
def test_no_mass_is_made_or_lost(seed, hops, zero):
    drawn, rows, places = example(seed, zero=zero)
    np.testing.assert_allclose(relayed(drawn, rows, places, hops).sum(1), drawn.sum(1), rtol=0, atol=1e-9)


def test_all_hops_leave_nothing_on_thoughts_that_drew_on_anything():
    drawn, rows, places = example(1)
    found = relayed(drawn, rows, places, "all")
    assert not found[:, places].any()
    np.testing.assert_allclose(found, relayed(drawn, rows, places, 4), atol=1e-12)  # as many hops as thoughts


def test_one_hop_leaves_what_thoughts_drew_from_each_other():
    drawn, rows = np.array([[0.0, 1.0, 0.0, 4.0]]), np.array([[3.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    places = np.array([2, 3])
    np.testing.assert_array_equal(relayed(drawn, rows, places, 1), [[0, 3, 2, 0]])
    np.testing.assert_array_equal(relayed(drawn, rows, places, 0), drawn)


def test_the_arguments_are_left_as_they_are():
    drawn, rows, places = example(3)
    before = drawn.copy(), rows.copy()
    relayed(drawn, rows, places, "all")
    np.testing.assert_array_equal(drawn, before[0])
    np.testing.assert_array_equal(rows, before[1])
