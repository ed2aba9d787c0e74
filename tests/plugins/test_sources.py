"""Metrics of sources: by hand, with loops, and in the corners where ties and constants are."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from contextmix.errors import BadOption, NotFinite, WrongShape
from contextmix.maths.ablations import random_masks
from contextmix.plugins.contracts import Scored
from contextmix.plugins.sources import baselines, lds, necessity, needle_recall, sufficiency, top_k_drop

WORTH = np.array([1.0, 4.0, -2.0, 0.5])


def said(masks: np.ndarray) -> np.ndarray:
    """log p that is −10 and what each kept source adds, and 3 more where the first two are together."""
    return -10 + masks @ WORTH + 3.0 * (masks[:, 0] & masks[:, 1])


def by_loops(scores, masks, log_probs, count_removed: bool) -> float:
    """Sums by loops, the line by the textbook, ranks by counting, and the correlation of the ranks."""
    sums = [sum(score for score, here in zip(scores, mask, strict=True) if here) for mask in masks]
    lists = [sums, list(log_probs)]
    if count_removed:
        number = [sum(map(int, mask)) for mask in masks]
        mean = sum(number) / len(number)
        for place, values in enumerate(lists):
            level = sum(values) / len(values)
            across = sum((n - mean) * (v - level) for n, v in zip(number, values, strict=True))
            slope = across / sum((n - mean) ** 2 for n in number)
            lists[place] = [v - level - slope * (n - mean) for n, v in zip(number, values, strict=True)]
    ranks = [
        [sum(b < a - 1e-9 for b in one) + (sum(abs(b - a) < 1e-9 for b in one) + 1) / 2 for a in one] for one in lists
    ]
    left, right = (np.array(one) - np.mean(one) for one in ranks)
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


# LDS -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count_removed", [False, True])
@pytest.mark.parametrize("scores", [WORTH, [1.0, 1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 3.0], [0.1, 0.2, 0.3, -0.1]])
def test_lds_by_loops(scores, count_removed: bool):
    masks = random_masks(4, 32)  # many come twice, so there are ties
    found = lds(scores, masks, said(masks), count_removed=count_removed)
    assert found.value == pytest.approx(by_loops(scores, masks, said(masks), count_removed), abs=1e-9)


def test_lds_is_spearmans_correlation_of_the_sums():
    masks, scores = random_masks(9, 64), np.random.RandomState(0).randn(9)
    log_probs = np.random.RandomState(1).randn(64)
    assert lds(scores, masks, log_probs).value == pytest.approx(spearmanr(masks @ scores, log_probs)[0], abs=1e-12)


def test_sums_in_another_order_are_tied():
    """0.1 + 0.2 and 0.3 are not the same float; which is the larger says nothing about sources."""
    masks = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]], bool)
    found = lds([0.1, 0.2, 0.3], masks, [1.0, 2.0, 0.5, 0.0])
    assert found.value == pytest.approx(spearmanr([3, 3, 1, 0], [1.0, 2.0, 0.5, 0.0])[0], abs=1e-12)


def test_even_scores_only_count_what_is_kept():
    """With "more kept, more probable" alone they have an LDS of one, and none once the number is taken out."""
    masks = random_masks(6, 40)
    log_probs = 2.0 * masks.sum(1) - 30.0
    assert lds(np.ones(6), masks, log_probs).value == pytest.approx(1.0)
    assert lds(np.ones(6), masks, said(masks[:, :4]), count_removed=True) == Scored(None, "constant scores")
    assert lds(np.arange(6.0), masks, log_probs, count_removed=True).reason == "constant log-probabilities"


@pytest.mark.parametrize(
    ("scores", "masks", "log_probs", "count_removed", "reason"),
    [
        ([1.0], [[True], [False]], [0.0, -1.0], False, "fewer than 3 masks"),
        ([0.0, 0.0], [[1, 1], [1, 0], [0, 1]], [0.0, -1.0, -2.0], False, "constant scores"),
        ([1.0, 2.0], [[1, 1], [1, 0], [0, 1]], [-2.0, -2.0, -2.0], False, "constant log-probabilities"),
        ([3.0], [[1], [0], [1], [0]], [-1.0, -2.0, -1.5, -3.0], True, "constant scores"),
    ],
)
def test_lds_that_is_not_defined_says_why(scores, masks, log_probs, count_removed, reason):
    assert lds(scores, np.array(masks, bool), log_probs, count_removed=count_removed) == Scored(None, reason)


def test_a_single_source_has_an_lds():
    masks = np.array([[1], [0], [1], [0]], bool)
    assert lds([3.0], masks, [-1.0, -2.0, -1.0, -2.0]).value == pytest.approx(1.0)
    assert lds([-3.0], masks, [-1.0, -2.0, -1.0, -2.0]).value == pytest.approx(-1.0)


def test_numbers_that_do_not_fit_are_refused():
    masks = random_masks(3, 4)
    with pytest.raises(WrongShape, match=r"masks \(4, 2\); got \(4, 3\)"):
        lds([1.0, 2.0], masks, np.zeros(4))
    with pytest.raises(WrongShape, match="one number for each"):
        lds([[1.0, 2.0, 3.0]], masks, np.zeros(4))
    with pytest.raises(NotFinite, match=r"log-probabilities are NaN or infinite at \[1\]"):
        lds([1.0, 2.0, 3.0], masks, [0.0, np.nan, 1.0, 2.0])


# What goes with the best, and what they are enough for ---------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_drop_necessity_and_sufficiency_by_loops(k: int):
    scores = np.array([2.0, 3.0, 0.5, 1.0])  # the order 1, 0, 3, 2
    best = [1, 0, 3, 2][:k]

    def value(kept: list[int]) -> float:
        return -10 + sum(WORTH[source] for source in kept) + (3.0 if {0, 1} <= set(kept) else 0.0)

    whole, none = value([0, 1, 2, 3]), value([])
    less, only = value([one for one in range(4) if one not in best]), value(best)
    assert top_k_drop(scores, said, k=k).value == pytest.approx(whole - less, abs=1e-12)
    assert necessity(scores, said, k=k).value == pytest.approx((whole - less) / (whole - none), abs=1e-12)
    assert sufficiency(scores, said, k=k).value == pytest.approx((only - none) / (whole - none), abs=1e-12)


each = pytest.mark.parametrize("metric", [top_k_drop, necessity, sufficiency])


@each
def test_equal_scores_go_in_the_order_of_the_prompt(metric):
    first = metric([1.0, 1.0, 0.0, 0.0], said)
    assert first == metric([2.0, 1.0, 0.0, 0.0], said)
    assert first != metric([1.0, 2.0, 0.0, 0.0], said)


@each
def test_what_has_no_best_source_is_not_defined(metric):
    assert metric([1.0] * 4, said) == Scored(None, "constant scores")
    assert metric([1.0, 2.0, 3.0, 4.0], said, k=5) == Scored(None, "fewer sources than k")
    with pytest.raises(BadOption, match="k=0 removes no source"):
        metric([1.0, 2.0], said, k=0)
    with pytest.raises(NotFinite):
        metric([np.nan, 2.0], said)
    with pytest.raises(WrongShape, match="one number each"):
        metric([1.0, 2.0], lambda masks: np.zeros((len(masks), 2)))


def test_a_single_source_is_all():
    def one(masks: np.ndarray) -> np.ndarray:
        return masks[:, 0] - 3.0

    assert [metric([7.0], one).value for metric in (top_k_drop, necessity, sufficiency)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("metric", [necessity, sufficiency])
def test_shares_of_nothing_are_not_defined(metric):
    found = metric([1.0, 2.0], lambda masks: -masks.sum(1).astype(float))
    assert found == Scored(None, "an answer that the sources do not make likelier")
    assert metric([1.0, 2.0], lambda masks: np.zeros(len(masks))).value is None


# Needles -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_needle_recall_is_the_mean_over_all_orders_of_ties(scores: list[int], data: st.DataObject):
    needles = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    k = data.draw(st.integers(1, len(scores)))
    found = needle_recall(np.array(scores, float), needles, k=k)
    if not needles.any():
        assert found == Scored(None, "no needle")
        return
    recalls = []
    for order in permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in pairwise(order)):
            recalls.append(sum(needles[place] for place in order[:k]) / needles.sum())
    assert found.value == pytest.approx(np.mean(recalls), abs=1e-9)


def test_a_share_of_the_tokens_is_rounded_up_exactly():
    scores, needles = np.arange(30.0), np.arange(30) >= 26  # 0.1 · 30 is 3.0000000000000004 in floating point
    assert needle_recall(scores, needles).value == 3 / 4
    assert needle_recall(scores[:5], needles[-5:], share=0.1).value == 1 / 4
    assert needle_recall(scores, needles, share=1).value == 1
    with pytest.raises(BadOption, match="share=0 is a part"):
        needle_recall(scores, needles, share=0)
    with pytest.raises(BadOption, match="k=31 of 30"):
        needle_recall(scores, needles, k=31)


def test_baselines_know_where_and_how_long():
    found = baselines([2, 8, 4], seed=1)
    assert list(found) == ["random", "recency", "length", "recency + length"]
    assert found["recency"] == pytest.approx([1 / 3, 2 / 3, 1])
    assert found["length"] == pytest.approx([0.25, 1, 0.5])
    assert found["recency + length"] == pytest.approx([1 / 3 + 0.25, 5 / 3, 1.5])
    assert (found["random"] == baselines([2, 8, 4], seed=1)["random"]).all()
    assert (found["random"] != baselines([2, 8, 4], seed=2)["random"]).all()
