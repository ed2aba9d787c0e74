from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.metrics.drawn import marked_texts, marks, orders

from contextmix.errors import BadOption
from contextmix.metrics.needle_recall import score


@given(text=marked_texts(most=6), share=st.sampled_from([0.1, 0.25, 0.5, 0.7, 1.0]))
def test_it_is_the_mean_over_every_order_of_the_ties(text, share):
    scores, marked = text
    exactly = Fraction(str(share)) * len(scores)
    chosen = int(exactly) + (exactly != int(exactly))
    found = [sum(bool(marked[token]) for token in order[:chosen]) / sum(marked) for order in orders(scores)]
    assert score(scores, marked, share=share).value == pytest.approx(sum(found) / len(found), abs=1e-12)


def test_the_best_tenth_is_rounded_up():
    falling = np.arange(11.0)[::-1]
    assert score(falling, marks("xx.........")).value == 1
    assert score(falling, marks(".xx........")).value == 0.5
    assert score(falling[:10], marks("xx........")).value == 0.5


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(BadOption, match="above 0 and at most 1"):
        score(np.arange(3.0), marks("x.."), share=share)


def test_where_nothing_can_be_told_there_is_a_reason():
    assert score(np.ones(3), marks("x..")).reason == "constant scores"
    assert score(np.arange(3.0), marks("...")).reason == "no marked token"
    assert score(np.arange(3.0), marks("xxx")).reason == "every token is marked"
