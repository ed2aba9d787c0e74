from statistics import fmean

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score
from tests.metrics.drawn import marked_texts, marks, orders

from contextmix.errors import BadOption
from contextmix.metrics.token_iou import score


def longhand(scores: np.ndarray, marked: np.ndarray, chosen: int) -> float:
    """Tokens in both sets over tokens in either, in every order that the scores allow."""
    found = []
    for order in orders(scores):
        hits = sum(bool(marked[i]) for i in order[:chosen])
        either = len({i for i in range(len(marked)) if marked[i]} | set(order[:chosen]))
        found.append(hits / either)
    return fmean(found)


@given(marked_texts(most=6), st.integers(1, 5))
def test_it_is_the_mean_over_every_choice_that_the_scores_allow(text, chosen):
    assume(chosen < len(text[0]))
    assert score(*text, top=chosen).value == pytest.approx(longhand(*text, chosen), abs=1e-12)
    assert score(*text).value == pytest.approx(longhand(*text, int(text[1].sum())), abs=1e-12)


@given(marked_texts(), st.integers(1, 11))
def test_without_ties_it_is_scikit_learns_number(text, chosen):
    scores, marked = text
    assume(chosen < len(scores) and len(set(scores.tolist())) == len(scores))
    threshold = sorted(scores)[-chosen]
    assert score(*text, top=chosen).value == pytest.approx(jaccard_score(marked, scores >= threshold))


def test_closed_forms():
    falling, people = np.array([0.9, 0.8, 0.7, 0.6]), marks("x.x.")
    assert score(falling, people, top=1).value == pytest.approx(1 / 2)
    assert score(falling, people, top=2).value == pytest.approx(1 / 3)
    assert score(falling, people, top=3).value == pytest.approx(2 / 3)
    assert score(falling, people).value == score(falling, people, top=2).value
    assert score(falling, people, top=0.75).value == score(falling, people, top=3).value
    assert score(falling, people, top=0.65).value == score(falling, people, top=3).value  # 2.6 is nearest to 3
    assert score(falling, people, top=0.01).value == score(falling, people, top=1).value
    # Two of the three tied tokens are chosen; one of the three is marked, and two of the three choices hold it.
    assert score(np.array([1.0, 1.0, 1.0, 0.0]), marks("x..x")).value == pytest.approx((0 + 1 / 3 + 1 / 3) / 3)


def test_where_nothing_can_be_told_there_is_a_reason():
    assert score(np.ones(3), marks("x..")).reason == "constant scores"
    assert score(np.arange(3.0), marks("...")).reason == "no marked token"
    assert score(np.arange(3.0), marks("xxx")).reason == "every token is marked"
    assert score(np.arange(3.0), marks("x.."), top=3).reason == "every token is chosen"
    assert score(np.arange(3.0), marks("x.."), top=9).reason == "every token is chosen"
    assert score(np.arange(3.0), marks("x.."), top=1.0).reason == "every token is chosen"


@pytest.mark.parametrize("top", [0, -1, True, 0.0, 1.5, float("nan"), "most", None])
def test_a_number_of_tokens_that_is_none_is_refused(top):
    with pytest.raises(BadOption, match="does not say how many tokens"):
        score(np.arange(3.0), marks("x.."), top=top)
