import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.metrics.drawn import marked_texts, marks, orders

from contextmix.errors import BadOption
from contextmix.metrics.pointing import score


@given(text=marked_texts(most=6), k=st.integers(1, 5))
def test_it_is_the_chance_of_a_hit_over_every_order_of_the_ties(text, k):
    scores, marked = text
    found = score(scores, marked, k=k)
    if k >= len(scores):
        assert (found.value, found.reason) == (None, "every token is chosen")
        return
    hits = [any(marked[token] for token in order[:k]) for order in orders(scores)]
    assert found.value == pytest.approx(sum(hits) / len(hits), abs=1e-12)


def test_closed_forms():
    assert score(np.array([0.1, 0.9, 0.5]), marks(".x.")).value == 1
    assert score(np.array([0.1, 0.9, 0.5]), marks("..x")).value == 0  # the second best
    assert score(np.array([0.1, 0.9, 0.5]), marks("..x"), k=2).value == 1
    assert score(np.array([1.0, 1.0, 1.0, 0.0]), marks("x..."), k=2).value == pytest.approx(2 / 3)
    assert score(np.array([-5.0, 1.0, 2.0]), marks("x..")).value == 0  # no sizes


@pytest.mark.parametrize("k", [0, -1])
def test_pointing_at_nothing_is_refused(k):
    with pytest.raises(BadOption, match="points at no token"):
        score(np.arange(3.0), marks("x.."), k=k)


def test_where_nothing_can_be_told_there_is_a_reason():
    assert score(np.ones(3), marks("x..")).reason == "constant scores"
    assert score(np.arange(3.0), marks("...")).reason == "no marked token"
    assert score(np.arange(3.0), marks("xxx")).reason == "every token is marked"
