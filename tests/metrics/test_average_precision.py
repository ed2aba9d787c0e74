import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import average_precision_score
from tests.metrics.drawn import marked_texts, marks

from contextmix.metrics.average_precision import score


def longhand(scores: np.ndarray, marked: np.ndarray) -> float:
    """Threshold after threshold, from the largest score."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        hits = sum(bool(m) for s, m in zip(scores, marked, strict=True) if s >= threshold)
        recall, precision = hits / sum(marked), hits / sum(s >= threshold for s in scores)
        total += (recall - recall_before) * precision
        recall_before = recall
    return total


@given(marked_texts())
def test_it_is_the_sum_over_thresholds_and_scikit_learns_number(text):
    found = score(*text).value
    assert found == pytest.approx(longhand(*text), abs=1e-12)
    assert found == pytest.approx(average_precision_score(text[1], text[0]), abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_one_marked_token_at_rank_n_gives_one_over_n(n):
    cue = np.arange(n) == n - 1
    assert score(np.arange(n, 0.0, -1), cue).value == pytest.approx(1 / n)
    assert score(np.arange(n, dtype=float), cue).value == 1


def test_random_scores_give_a_little_more_than_the_marked_share():
    draws = np.random.default_rng(0)
    values = [score(draws.random(400), np.arange(400) < 100).value for _ in range(100)]
    assert 0.25 < np.mean(values) < 0.27


def test_where_nothing_can_be_told_there_is_a_reason():
    assert score(np.ones(3), marks("x..")).reason == "constant scores"
    assert score(np.arange(3.0), marks("...")).reason == "no marked token"
    assert score(np.arange(3.0), marks("xxx")).reason == "every token is marked"
