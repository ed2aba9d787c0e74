from math import fsum

import numpy as np
import pytest
from hypothesis import given
from tests.metrics.drawn import marked_texts, marks

from contextmix.metrics.relevance_mass import score


@given(marked_texts())
def test_it_is_the_part_of_the_positive_scores(text):
    scores, marked = text
    positive = [one if one > 0 else 0.0 for one in scores.tolist()]
    total = fsum(positive)
    found = score(scores, marked)
    if total == 0:
        assert (found.value, found.reason) == (None, "no positive score")
    else:
        wanted = fsum(one for one, mark in zip(positive, marked, strict=True) if mark) / total
        assert found.value == pytest.approx(wanted, abs=1e-12)


def test_closed_forms():
    assert score(np.array([1.0, 3.0, -9.0]), marks("x..")).value == 0.25
    assert score(np.array([1.0, 3.0, -9.0]), marks("..x")).value == 0
    assert score(np.array([1.0, 3.0, -9.0]), marks("xx.")).value == 1
    assert score(np.full(8, 0.125), marks("x..x....")).value == 0.25
    assert score(np.array([1e308, 1e308, 1e308]), marks("x..")).value == pytest.approx(1 / 3)


def test_where_nothing_can_be_told_there_is_a_reason():
    assert score(-np.ones(3), marks("x..")).reason == "no positive score"
    assert score(np.ones(3), marks("...")).reason == "no marked token"
    assert score(np.ones(3), marks("xxx")).reason == "every token is marked"
