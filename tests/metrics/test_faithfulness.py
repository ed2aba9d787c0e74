"""Metrics that ask a model, on one that is known in full: by hand, by loops, and what must hold of any."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from tests.metrics.bag_of_words import Bag, area, drops, number, sorted_places

from contextmix.errors import BadOption, NotFinite, WrongShape
from contextmix.metrics import (
    accuracy_curve,
    aopc,
    blank_out,
    comprehensiveness,
    deletion_area,
    disruption,
    insertion_area,
    log_odds,
    recovery,
    sufficiency,
)
from contextmix.plugins.contracts import Metric
from contextmix.plugins.perturbation import PERCENT

FILES = [
    accuracy_curve,
    aopc,
    blank_out,
    comprehensiveness,
    deletion_area,
    insertion_area,
    log_odds,
    sufficiency,
]
ALL: dict[str, Metric] = {one.METRIC.name: one.METRIC for one in FILES}
BY_STEPS = ["accuracy_curve", "aopc", "log_odds"]
each_metric = pytest.mark.parametrize("name", sorted(ALL))
each_divisor = pytest.mark.parametrize("divisor", ["eraser_code", "eraser_paper", "alti"])
each_order = pytest.mark.parametrize("order", ["most_first", "least_first"])
each_by = pytest.mark.parametrize("by", ["value", "magnitude"])

# Odds of 8·4·2·½ = 32 to 1: every probability is a fraction that can be worked out on paper.
ODDS = Bag([math.log(8), math.log(4), math.log(2), -math.log(2)])
TRUE = np.array([3.0, 2.0, 1.0, -1.0])
EVERY = np.ones(4, bool)


def found(name: str, scores, bag: Bag, removable=None, **options):
    removable = np.ones(len(scores), bool) if removable is None else removable
    return ALL[name].score(np.asarray(scores), bag, removable, **options)


def by_hand(name: str, wanted: float, scores=TRUE, **options):
    assert found(name, scores, ODDS, **options).value == pytest.approx(wanted, rel=1e-12)


# By hand --------------------------------------------------------------------------------------------------------------


def test_comprehensiveness_by_hand():
    # without 8: odds 4; without 8 and 4: odds 1
    by_hand("comprehensiveness", ((32 / 33 - 4 / 5) + (32 / 33 - 1 / 2)) / 2, bins=(25, 50))
    for divisor in ("eraser_paper", "alti"):
        by_hand("comprehensiveness", ((32 / 33 - 4 / 5) + (32 / 33 - 1 / 2)) / 3, bins=(25, 50), divisor=divisor)


def test_sufficiency_by_hand():
    # 8 alone: odds 8; 8 and 4: odds 32, as many as all; nothing: odds 1
    by_hand("sufficiency", (32 / 33 - 8 / 9 + 0) / 2, bins=(25, 50))
    by_hand("sufficiency", (32 / 33 - 1 / 2 + 32 / 33 - 8 / 9 + 0) / 3, bins=(25, 50), divisor="eraser_paper")
    by_hand("sufficiency", (32 / 33 - 8 / 9 + 0) / 3, bins=(25, 50), divisor="alti")


def test_aopc_by_hand():
    most, least = [4 / 5, 1 / 2, 1 / 3], [64 / 65, 32 / 33, 8 / 9]  # odds left: 4, 1, ½; and 64, 32, 8
    by_hand("aopc", 32 / 33 - sum(most) / 3, percent=(25, 50, 75))
    by_hand("aopc", 32 / 33 - sum(least) / 3, percent=(25, 50, 75), order="least_first")
    # By size −5 is the largest: the token with ½ goes first, and odds of 64 are left
    by_hand("aopc", 32 / 33 - 64 / 65, scores=[3.0, 2.0, 1.0, -5.0], by="magnitude", percent=(25,))


def test_accuracy_by_hand():
    by_hand(
        "accuracy_curve", 1 / 3, percent=(25, 50, 75)
    )  # odds 4 are right; 1 is a tie, which goes to the first class
    by_hand("accuracy_curve", 2 / 3, percent=(25, 50, 75), gold=0)
    by_hand("accuracy_curve", 1, percent=(25, 50, 75), order="least_first")


def test_log_odds_by_hand():
    mean = (math.log(4 / 5) + math.log(1 / 2) + math.log(1 / 3)) / 3
    by_hand("log_odds", mean - math.log(32 / 33), percent=(25, 50, 75))


def test_areas_by_hand():
    out, into = [32 / 33, 4 / 5, 1 / 2, 1 / 3, 1 / 2], [1 / 2, 8 / 9, 32 / 33, 64 / 65, 32 / 33]
    for name, curve in (("deletion_area", out), ("insertion_area", into)):
        by_hand(name, (sum(curve) - curve[0] / 2 - curve[-1] / 2) / 4)
        by_hand(name, (curve[0] / 2 + curve[2] + curve[4] / 2) / 2, steps=2)
        by_hand(name, (curve[0] + curve[4]) / 2, steps=1)
        assert list(found(name, TRUE, ODDS).curve.values()) == pytest.approx(curve, rel=1e-12)
    # three steps over four tokens stand at 0, 1, 2 and 4: the last is twice as wide
    by_hand("deletion_area", (out[0] + out[1]) / 8 + (out[1] + out[2]) / 8 + (out[2] + out[4]) / 4, steps=3)


def test_blank_out_by_hand():
    by_hand("blank_out", 1.0)
    by_hand("blank_out", -1.0, scores=-TRUE)
    by_hand("blank_out", 0.8, scores=[2.0, 3.0, 1.0, -1.0])  # 1 − 6·(1 + 1)/(4·15)


# By loops -------------------------------------------------------------------------------------------------------------


@st.composite
def examples(draw, distinct: bool = False):
    """A bag of words, scores with ties, and some tokens that must stay."""
    n = draw(st.integers(1, 12))
    numbers = st.integers(-6, 6)
    weights = [one / 4 for one in draw(st.lists(numbers, min_size=n, max_size=n))]
    scores = np.array(draw(st.lists(numbers, min_size=n, max_size=n, unique=distinct)), dtype=float)
    removable = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    return Bag(weights, draw(numbers) / 4), scores, removable


def orders(scores, removable, by: str = "value") -> bool:
    """Whether there is an order to speak of."""
    values = [abs(one) if by == "magnitude" else one for one in scores[removable]]
    return len(values) == 1 or len(set(values)) > 1


def agree(name: str, example, longhand, **options):
    bag, scores, removable = example
    one = found(name, scores, bag, removable, **options)
    if orders(scores, removable, options.get("by", "value")):
        assert one.value == pytest.approx(longhand, rel=1e-12, abs=1e-12)
    else:
        assert one.value is None


@each_divisor
@each_by
@given(example=examples())
def test_rationales_by_loops(divisor, by, example):
    bag, scores, removable = example
    places = sorted_places(scores, removable, by=by)
    bins = (5, 12.5, 30, 100)
    for name, keep in (("comprehensiveness", False), ("sufficiency", True)):
        found = drops(bag, places, bins, keep)
        empty = bag.whole() - bag.said(bag.everything - set(places)) if keep else 0.0
        total = {"eraser_code": sum(found) / 4, "eraser_paper": (empty + sum(found)) / 5, "alti": sum(found) / 5}
        agree(name, example, total[divisor], bins=bins, divisor=divisor, by=by)


@each_order
@each_by
@given(example=examples())
def test_curves_by_loops(order, by, example):
    bag, scores, removable = example
    places = sorted_places(scores, removable, order, by)
    falls = drops(bag, places, PERCENT, False)
    agree("aopc", example, sum(falls) / 9, order=order, by=by)
    ratios = [math.log((bag.whole() - one) / bag.whole()) for one in falls]
    agree("log_odds", example, sum(ratios) / 9, order=order, by=by)
    for gold in (None, 0, 1):
        right = 0
        for one in PERCENT:
            no, yes = bag.probabilities(bag.everything - set(places[: number(one, len(places))]))
            right += int(yes > no) == (bag.predicted if gold is None else gold)
        agree("accuracy_curve", example, right / 9, order=order, by=by, gold=gold)


@pytest.mark.parametrize("steps", [None, 1, 3, 20])
@each_by
@given(example=examples())
def test_areas_by_loops(steps, by, example):
    bag, scores, removable = example
    places = sorted_places(scores, removable, by=by)
    if places:
        agree("deletion_area", example, area(bag, places, steps, False), steps=steps, by=by)
        agree("insertion_area", example, area(bag, places, steps, True), steps=steps, by=by)


@given(example=examples())
def test_blank_out_by_loops(example):
    bag, scores, removable = example
    places = np.flatnonzero(removable)
    effects = [bag.whole() - bag.said(bag.everything - {place}) for place in places]
    one = found("blank_out", scores, bag, removable)
    if len(places) > 2 and len(set(effects)) > 1 and len(set(scores[places])) > 1:
        assert one.value == pytest.approx(spearmanr(scores[places], effects).statistic, abs=1e-12)
    else:
        assert one.value is None


# What holds of any ----------------------------------------------------------------------------------------------------


@each_metric
@given(example=examples())
def test_values_lie_within_the_bounds_and_a_reason_stands_where_there_is_none(name, example):
    bag, scores, removable = example
    one = found(name, scores, bag, removable)
    low, high = ALL[name].bounds
    if one.value is None:
        assert one.reason
    else:
        assert not one.reason
        assert low is None or low <= one.value
        assert high is None or one.value <= high
        assert all(map(math.isfinite, one.curve.values()))


@each_metric
@given(example=examples())
def test_a_model_is_asked_once_with_the_intact_example_first_and_keeps_what_may_not_go(name, example):
    bag, scores, removable = example
    one = found(name, scores, bag, removable)
    assert len(bag.asked) == (one.value is not None or one.reason == "constant drops")
    for kept in bag.asked:
        assert kept.dtype == np.bool_
        assert kept.shape[1:] == scores.shape
        assert kept[0].all()
        assert kept[:, ~removable].all()


@each_metric
@given(example=examples(distinct=True))
def test_only_the_order_of_the_scores_counts(name, example):
    bag, scores, removable = example
    wanted = found(name, scores, bag, removable)
    for transformed in (np.exp(scores), scores**3 - 50, np.argsort(np.argsort(scores)).astype(np.float32)):
        assert found(name, transformed, bag, removable) == wanted


@pytest.mark.parametrize("name", BY_STEPS)
@given(example=examples())
def test_least_first_is_most_first_of_the_opposite_scores(name, example):
    bag, scores, removable = example
    assert found(name, scores, bag, removable, order="least_first") == found(name, -scores, bag, removable)


@given(example=examples(distinct=True))
def test_what_is_put_in_first_is_taken_out_last(example):
    bag, scores, removable = example
    into, out = (
        found(name, one, bag, removable) for name, one in (("insertion_area", scores), ("deletion_area", -scores))
    )
    assert into.value == (None if out.value is None else pytest.approx(out.value, abs=1e-12))


@given(example=examples())
def test_curves_begin_and_end_where_nothing_and_all_is_gone(example):
    bag, scores, removable = example
    if orders(scores, removable):
        whole, bare = bag.whole(), bag.said(set(np.flatnonzero(~removable)))
        for steps in (None, 2):
            out = list(found("deletion_area", scores, bag, removable, steps=steps).curve.values())
            into = list(found("insertion_area", scores, bag, removable, steps=steps).curve.values())
            assert (out[0], out[-1]) == (whole, bare)
            assert (into[0], into[-1]) == (bare, whole)
        assert found("sufficiency", scores, bag, removable, bins=(100,)).value == 0
        assert found("comprehensiveness", scores, bag, removable, bins=(100,)).value == whole - bare
        assert found("sufficiency", scores, bag, removable, divisor="eraser_paper").curve["0%"] == whole - bare


@each_metric
def test_the_same_question_has_the_same_answer(name):
    scores = np.random.default_rng(0).normal(size=9)
    assert found(name, scores, Bag(scores)) == found(name, scores.copy(), Bag(scores))


def test_tokens_with_equal_scores_go_in_the_order_of_the_text():
    bag, scores = Bag([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 1.0, 0.0])
    for order, gone in (("most_first", 1), ("least_first", 0)):
        found("aopc", scores, bag, order=order, percent=(25,))
        assert np.flatnonzero(~bag.asked[-1][1]).tolist() == [gone]


@each_metric
def test_a_perfect_explanation_is_better_than_any_other_and_a_reversed_one_worse(name):
    """Taking away the largest weights first leaves the smallest sum that so many tokens can leave."""
    draws = np.random.default_rng(7)
    weights = draws.normal(size=14)
    bag = Bag(weights, bias=0.1 - weights.sum() / 2)
    truth = weights if bag.predicted else -weights
    sign = 1 if ALL[name].higher_is_better else -1
    best, worst = (sign * found(name, one, bag).value for one in (truth, -truth))
    others = [sign * found(name, draws.permutation(truth), bag).value for _ in range(100)]
    assert worst <= min(others)
    assert max(others) <= best
    assert worst < np.mean(others) < best


@pytest.mark.parametrize("name", BY_STEPS)
def test_the_option_that_turns_the_direction_round_is_declared(name):
    weights = np.random.default_rng(7).normal(size=14)
    bag = Bag(weights, bias=0.1 - weights.sum() / 2)
    truth = weights if bag.predicted else -weights
    for order in ("most_first", "least_first"):
        good, bad = (found(name, one, bag, order=order).value for one in (truth, -truth))
        assert (good > bad) == ALL[name].prefers_higher({"order": order})
        assert ALL[name].prefers_higher({}) == ALL[name].higher_is_better


# Where there is no number ---------------------------------------------------------------------------------------------


@each_metric
@pytest.mark.parametrize(
    ("scores", "removable", "reason"),
    [
        ([1.0, 1.0, 2.0], [True, True, False], "constant scores"),
        ([1.0, 2.0, 3.0], [False, False, False], "no token may be removed"),
        ([1.0, np.nan, 3.0], [True, True, True], "scores that are not finite"),
        ([1.0, 2.0, -np.inf], [False, True, True], "scores that are not finite"),
    ],
)
def test_no_order_no_number(name, scores, removable, reason):
    bag = Bag([1.0, 2.0, 3.0])
    one = found(name, scores, bag, np.array(removable))
    assert (one.value, one.reason, one.curve) == (None, reason, {})
    assert bag.asked == []  # a model is not run for nothing


def test_sizes_that_are_equal_are_constant_by_magnitude():
    assert found("aopc", [1.0, -1.0], Bag([1.0, 2.0]), by="magnitude").reason == "constant scores"


def test_what_no_number_can_say():
    assert found("blank_out", [1.0, 2.0], Bag([1.0, 2.0])).reason == "fewer than 3 tokens"
    assert found("blank_out", [1.0, 2.0, 3.0], Bag([1.0, 1.0, 1.0])).reason == "constant drops"
    nothing = partial(ALL["log_odds"].score, np.array([1.0, 2.0]), removable=np.ones(2, bool), percent=(50,))
    assert nothing(lambda kept: np.array([[0.0, 1.0], [1.0, 0.0]])).reason == "a probability of zero"
    alone = ALL["accuracy_curve"].score(np.array([1.0, 2.0]), lambda kept: np.ones((len(kept), 1)), np.ones(2, bool))
    assert alone.reason == "a single class"


@pytest.mark.parametrize("gold", [-1, 2])
def test_a_label_that_the_model_does_not_have_is_refused(gold):
    with pytest.raises(BadOption, match=f"gold={gold} is no class of this model, which has 2"):
        found("accuracy_curve", TRUE, ODDS, gold=gold)


@pytest.mark.parametrize("name", ["comprehensiveness", "sufficiency", *BY_STEPS])
@pytest.mark.parametrize("percent", [(), (0,), (20, 120), (-5,)])
def test_percentages_that_are_none_are_refused(name, percent):
    option = "percent" if name in BY_STEPS else "bins"
    with pytest.raises(BadOption, match="each above 0 and at most 100"):
        found(name, TRUE, ODDS, **{option: percent})


@pytest.mark.parametrize("name", ["insertion_area", "deletion_area"])
def test_no_step_is_refused(name):
    with pytest.raises(BadOption, match="steps=0 would move no token"):
        found(name, TRUE, ODDS, steps=0)


@each_metric
def test_answers_that_are_no_probabilities_are_refused(name):
    def ask(predict):
        return ALL[name].score(TRUE, predict, EVERY)

    with pytest.raises(NotFinite, match="NaN or infinite probabilities"):
        ask(lambda kept: np.full((len(kept), 2), np.nan))
    with pytest.raises(WrongShape, match="it must give probabilities"):
        ask(lambda kept: np.full((len(kept) - 1, 2), 0.5))
    with pytest.raises(WrongShape, match="it must give probabilities"):
        ask(lambda kept: np.full(len(kept), 0.5))


@pytest.mark.parametrize("steps", [None, 1, 10])
@each_by
@given(example=examples())
def test_disruption_and_recovery_are_areas_in_ten_cuts(steps, by, example):
    bag, scores, removable = example
    places = sorted_places(scores, removable, by=by)
    options = {"by": by} if steps == 10 else {"by": by, "steps": steps}
    for metric, insert in ((disruption.METRIC, False), (recovery.METRIC, True)):
        found = metric.score(scores, bag, removable, **options)
        if orders(scores, removable, by):
            assert found.value == pytest.approx(area(bag, places, steps, insert), abs=1e-12)
        assert bool(found.reason) != orders(scores, removable, by)
        assert metric.removal == "zero"


def test_disruption_and_recovery_have_ten_cuts_unless_told_otherwise():
    for metric in (disruption.METRIC, recovery.METRIC):
        curve = metric.score(np.arange(23.0), Bag(np.arange(23.0) / 9), np.ones(23, bool)).curve
        assert list(curve) == [f"{10 * cut}%" for cut in range(11)]
