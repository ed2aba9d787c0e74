"""NAOPC against every order there is, and a beam search against the exact limits."""

from functools import cache
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from tests.metrics.bag_of_words import Bag, sorted_places
from tests.metrics.drawn import short_texts

from contextmix.errors import BadOption
from contextmix.metrics.naopc import score


class Table(Bag):
    """A model that says anything of any set of tokens, so that no order is best by its first token alone."""

    def probabilities(self, kept: set[int]) -> tuple[float, float]:
        yes = drawn(len(self.weights), sum(2**token for token in kept))
        return 1 - yes, yes


@cache
def drawn(n: int, number: int) -> float:
    return float(np.random.default_rng([17, n, number]).random())


def aopc(bag: Bag, order) -> float:
    falls = [bag.whole() - bag.said(bag.everything - set(order[:gone])) for gone in range(1, len(order) + 1)]
    return sum(falls) / len(falls)


def longhand(bag: Bag, scores, removable, by: str) -> float:
    said = cache(lambda gone: bag.whole() - bag.said(bag.everything - gone))  # 5,040 orders share 128 sets
    orders = permutations(np.flatnonzero(removable).tolist())
    every = [sum(said(frozenset(one[:gone])) for gone in range(1, len(one) + 1)) / len(one) for one in orders]
    return (aopc(bag, sorted_places(scores, removable, by=by)) - min(every)) / (max(every) - min(every))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("by", ["value", "magnitude"])
@pytest.mark.parametrize("model", [Bag, Table])
def test_exact_limits_are_those_of_every_order(n, by, model):
    draws = np.random.default_rng(n)
    bag, scores = model(draws.normal(size=n + 1).tolist()), draws.normal(size=n + 1).round(1)
    removable = np.arange(n + 1) != 1
    found = score(scores, bag, removable, by=by)
    assert found.value == pytest.approx(longhand(bag, scores, removable, by), abs=1e-9)
    assert 0 < found.value < 1 or n < 4
    own = aopc(bag, sorted_places(scores, removable, by=by))
    assert found.curve["AOPC"] == pytest.approx(own, abs=1e-12)
    assert found.curve["lowest"] <= own + 1e-12
    assert found.curve["highest"] >= own - 1e-12


@settings(max_examples=30)
@given(example=short_texts(most=5))
def test_ties_constants_and_single_tokens(example):
    bag, scores, removable = example
    found, places = score(scores, bag, removable), np.flatnonzero(removable)
    if not len(places):
        assert found.reason == "no token may be removed"
    elif len(places) > 1 and len(set(scores[places])) == 1:
        assert found.reason == "constant scores"
    elif len({round(bag.weights[place], 9) for place in places}) == 1:
        assert found.reason == "all orders are alike"
    else:
        assert found.value == pytest.approx(longhand(bag, scores, removable, "value"), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_search_finds_the_exact_limits(seed):
    draws = np.random.default_rng(seed)
    bag, scores = Table(draws.normal(size=6).tolist()), draws.normal(size=6)
    exact = score(scores, bag, np.ones(6, bool))
    searched = score(scores, bag, np.ones(6, bool), exact=0, beam=100)
    assert searched.value == pytest.approx(exact.value, abs=1e-9)
    assert dict(searched.curve) == pytest.approx(dict(exact.curve), abs=1e-9)


def test_a_narrow_beam_misses_what_a_wider_one_finds():
    """And never the order of the scores themselves, so that the number stays between 0 and 1."""
    highest, lowest = [], []
    for seed in range(8):
        bag = Table([0.0] * (5 + seed % 2))
        scores = np.random.default_rng(seed).normal(size=len(bag.weights))
        may_go = np.ones(len(scores), bool)
        curves = [score(scores, bag, may_go, exact=0, beam=beam).curve for beam in (1, 3, 200)]
        highest.append([one["highest"] for one in curves])
        lowest.append([one["lowest"] for one in curves])
        assert all(one["lowest"] <= one["AOPC"] <= one["highest"] for one in curves)
    assert (np.diff(highest) >= 0).all()
    assert (np.diff(lowest) <= 0).all()
    assert np.diff(highest)[:, 0].max() > 1e-3
    assert np.diff(lowest)[:, 0].min() < -1e-3


def test_a_bag_of_words_has_its_best_and_worst_order_by_weight_and_beam_finds_it():
    weights = np.random.default_rng(1).permutation(20) / 8 + 0.1
    bag = Bag(weights.tolist(), bias=-10.0)
    sign = 1 if bag.predicted else -1
    assert score(sign * weights, bag, np.ones(20, bool)).value == pytest.approx(1, abs=1e-9)
    assert score(-sign * weights, bag, np.ones(20, bool)).value == pytest.approx(0, abs=1e-9)
    assert len(bag.asked) > 2  # searched, since 2²⁰ sets cannot be asked for


def test_up_to_so_many_tokens_all_sets_are_asked_for_at_once():
    for n, exact in ((3, 3), (7, 7)):
        bag = Bag([1.0] * (n - 1) + [2.0])
        score(np.arange(float(n)), bag, np.ones(n, bool), exact=exact)
        assert [len(one) for one in bag.asked] == [1 + 2**n]
    bag = Bag([1.0] * 7 + [2.0])
    score(np.arange(8.0), bag, np.ones(8, bool))
    assert len(bag.asked) > 1


@pytest.mark.parametrize(("options", "said"), [({"exact": 13}, "exact=13"), ({"exact": -1}, "exact=-1"),
                                               ({"beam": 0}, "beam=0")])  # fmt: skip
def test_a_search_that_cannot_be_is_refused(options, said):
    with pytest.raises(BadOption, match=said):
        score(np.arange(3.0), Bag([1.0, 2.0, 3.0]), np.ones(3, bool), **options)


@pytest.mark.parametrize(("choose", "wanted"), [(max, 1), (min, 0)])
def test_an_order_that_the_search_misses_is_itself_the_limit(choose, wanted):
    missed = 0
    for n in (4, 5, 6):
        bag, may_go = Table([0.0] * n), np.ones(n, bool)
        order = choose(permutations(range(n)), key=lambda one, bag=bag: aopc(bag, one))
        scores = np.array([float(n - order.index(token)) for token in range(n)])
        found = score(scores, bag, may_go, exact=0, beam=1)
        assert found.value == wanted
        other = score(-scores, bag, may_go, exact=0, beam=1)
        limit = "highest" if choose is max else "lowest"
        missed += abs(other.curve[limit] - found.curve[limit]) > 1e-3
    assert missed  # or nothing was shown
