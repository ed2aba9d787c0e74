from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from tests.metrics.drawn import marked_texts, marks, orders

from contextmix.metrics.reciprocal_rank import score


def longhand(scores: np.ndarray, marked: np.ndarray) -> float:
    """One over the place of the first marked token, in every order that the scores allow."""
    return fmean(1 / next(place for place, i in enumerate(order, start=1) if marked[i]) for order in orders(scores))


@given(marked_texts(most=6))
def test_it_is_the_mean_over_every_order_that_the_scores_allow(text):
    assert score(*text).value == pytest.approx(longhand(*text), abs=1e-12)


def test_closed_forms():
    falling = np.arange(5.0, 0, -1)
    assert [score(falling, np.arange(5) == i).value for i in range(5)] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert score(falling, marks("..x.x")).value == pytest.approx(1 / 3)
    # A tie of three at the top with one cue: first, second or third, each as likely.
    assert score(np.array([1.0, 1.0, 1.0, 0.0]), marks("..x.")).value == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_where_nothing_can_be_told_there_is_a_reason():
    assert score(np.ones(3), marks("x..")).reason == "constant scores"
    assert score(np.arange(3.0), marks("...")).reason == "no marked token"
    assert score(np.arange(3.0), marks("xxx")).reason == "every token is marked"
