from math import fsum

import numpy as np
import pytest
from hypothesis import given
from tests.metrics.drawn import marked_texts, marks

from contextmix.metrics.cue_dot_product import score


@given(marked_texts())
def test_it_is_the_sum_of_shares_on_the_cue(text):
    scores, cue = np.abs(text[0]), text[1]
    total = fsum(scores.tolist())
    assert score(scores, cue).value == pytest.approx(fsum(scores[i] / total for i in range(len(cue)) if cue[i]))


def test_closed_forms():
    assert score(np.array([0.0, 3.0, 0.0]), marks(".x.")).value == 1
    assert score(np.array([2.0, 0.0, 1.0]), marks(".x.")).value == 0
    assert score(np.full(8, 0.125), marks("x..x....")).value == 0.25
    assert score(np.array([1e308, 1e308, 1e308]), marks("x..")).value == pytest.approx(1 / 3)


def test_what_has_no_shares_has_a_reason():
    assert score(np.array([0.5, -0.1, 0.6]), marks("x..")).reason == "negative scores"
    assert score(np.zeros(3), marks("x..")).reason == "all scores are zero"
    assert score(np.ones(3), marks("...")).reason == "no marked token"
    assert score(np.ones(3), marks("xxx")).reason == "every token is marked"
