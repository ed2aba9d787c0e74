"""Magnitude aligned scoring, step by step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.metrics.bag_of_words import Bag, sorted_places
from tests.metrics.drawn import short_texts

from contextmix.errors import BadOption
from contextmix.metrics.mas import score


def longhand(bag: Bag, scores, removable, steps: int | None, by: str) -> float | str:
    places, size = sorted_places(scores, removable, by=by), abs if by == "magnitude" else float
    if not places:
        return "no token may be removed"
    values = [size(scores[place]) for place in places]
    if len(values) > 1 and max(values) == min(values):
        return "constant scores"
    n, total = len(places), sum(max(one, 0.0) for one in values)
    if total == 0:
        return "no positive score"
    points, least = [], bag.whole()
    for step in range((steps or n) + 1):
        gone = places[: step * n // (steps or n)]
        least = min(least, bag.said(bag.everything - set(gone)))
        points.append((len(gone) / n, least, 1 - sum(max(size(scores[place]), 0.0) for place in gone) / total))
    if points[0][1] == points[-1][1]:
        return "no token lowers the probability"
    area, before = 0.0, None
    for where, probability, mass in points:
        left = (probability - points[-1][1]) / (points[0][1] - points[-1][1])
        height = left + abs(left - mass)
        if before is not None:
            area += (where - before[0]) * (height + before[1]) / 2
        before = (where, height)
    return area


@pytest.mark.parametrize("steps", [None, 1, 3, 20])
@pytest.mark.parametrize("by", ["value", "magnitude"])
@given(example=short_texts())
def test_it_is_the_area_of_the_steps(steps, by, example):
    bag, scores, removable = example
    found, wanted = score(scores, bag, removable, steps=steps, by=by), longhand(*example, steps, by)
    assert found.reason == (wanted if isinstance(wanted, str) else "")
    if not found.reason:
        assert found.value == pytest.approx(wanted, abs=1e-9)


@given(weights=st.lists(st.integers(1, 8), min_size=2, max_size=8, unique=True))
def test_scores_that_are_in_proportion_to_what_is_lost_have_no_penalty(weights):
    shares = np.array(weights, float) / sum(weights) / 2

    def predict(kept):
        yes = 0.5 + kept @ shares
        return np.stack([1 - yes, yes], axis=1)

    one, wrong = (score(scores, predict, np.ones(len(weights), bool), steps=None) for scores in (shares, shares**3))
    order = sorted(weights, reverse=True)
    left = [1 - sum(order[:gone]) / sum(order) for gone in range(len(order) + 1)]
    assert list(one.curve.values()) == pytest.approx(left, abs=1e-9)
    assert list(one.curve) == [str(gone) for gone in range(len(order) + 1)]
    assert wrong.value > one.value + 1e-3  # the same order, with other sizes


def test_twenty_steps_unless_told_otherwise():
    bag = Bag([1.0, 2.0, 3.0])
    assert len(score(np.array([1.0, 2.0, 3.0]), bag, np.ones(3, bool)).curve) == 21
    with pytest.raises(BadOption, match="would move no token"):
        score(np.array([1.0, 2.0, 3.0]), bag, np.ones(3, bool), steps=0)
