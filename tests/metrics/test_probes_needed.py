from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from tests.metrics.drawn import marked_texts, marks, orders

from contextmix.metrics.probes_needed import score


def longhand(scores: np.ndarray, marked: np.ndarray) -> float:
    """Look at one token after another, in every order that the scores allow."""
    looked = []
    for order in orders(scores):
        wrong = 0
        while not marked[order[wrong]]:
            wrong += 1
        looked.append(wrong)
    return fmean(looked)


@given(marked_texts(most=6))
def test_it_is_the_mean_over_every_order_that_the_scores_allow(text):
    assert score(*text).value == pytest.approx(longhand(*text), abs=1e-12)


def test_closed_forms():
    falling = np.arange(5.0, 0, -1)
    assert [score(falling, np.arange(5) == i).value for i in range(5)] == [0, 1, 2, 3, 4]
    assert score(falling, marks("..x.x")).value == 2
    # Above 1 token; then a tie of 7 of which 3 are marked: (7 − 3)/(3 + 1) wrong ones come first on average.
    assert score(np.array([2.0] + 7 * [1.0] + [0.0]), marks("..x.x.x..")).value == pytest.approx(1 + 4 / 4)


def test_where_nothing_can_be_told_there_is_a_reason():
    assert score(np.ones(3), marks("x..")).reason == "constant scores"
    assert score(np.arange(3.0), marks("...")).reason == "no marked token"
    assert score(np.arange(3.0), marks("xxx")).reason == "every token is marked"
