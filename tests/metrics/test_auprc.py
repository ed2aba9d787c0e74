import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import auc, precision_recall_curve
from tests.metrics.drawn import marked_texts, marks

from contextmix.metrics.auprc import score


def longhand(scores: np.ndarray, marked: np.ndarray) -> float:
    """Trapezium after trapezium, from recall 0 and precision 1."""
    area, recall_before, precision_before = 0.0, 0.0, 1.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        hits = sum(bool(m) for s, m in zip(scores, marked, strict=True) if s >= threshold)
        recall, precision = hits / sum(marked), hits / sum(s >= threshold for s in scores)
        area += (recall - recall_before) * (precision + precision_before) / 2
        recall_before, precision_before = recall, precision
    return area


@given(marked_texts())
def test_it_is_the_area_under_the_curve_of_scikit_learn_as_eraser_takes_it(text):
    precision, recall, _ = precision_recall_curve(text[1], text[0])
    found = score(*text).value
    assert found == pytest.approx(longhand(*text), abs=1e-12)
    assert found == pytest.approx(auc(recall, precision), abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_one_marked_token_at_rank_n_gives_half_of_one_over_n(n):
    cue = np.arange(n) == n - 1  # the curve falls to precision 0 at recall 0, and then rises to (1, 1/n)
    assert score(np.arange(n, 0.0, -1), cue).value == pytest.approx(1 / (2 * n))
    assert score(np.arange(n, dtype=float), cue).value == 1


def test_where_nothing_can_be_told_there_is_a_reason():
    assert score(np.ones(3), marks("x..")).reason == "constant scores"
    assert score(np.arange(3.0), marks("...")).reason == "no marked token"
    assert score(np.arange(3.0), marks("xxx")).reason == "every token is marked"
