"""Both metrics of soft erasure, variant by variant, and against the expectation over all variants."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from tests.metrics.bag_of_words import Bag, sorted_places
from tests.metrics.drawn import short_texts

from contextmix.errors import BadOption
from contextmix.metrics.soft_comprehensiveness import METRIC as COMPREHENSIVENESS
from contextmix.metrics.soft_sufficiency import METRIC as SUFFICIENCY

BOTH = pytest.mark.parametrize("metric", [SUFFICIENCY, COMPREHENSIVENESS], ids=lambda metric: metric.name)


def probabilities(values: list[float], percent: float, stay: bool) -> list[float]:
    """With which each token is kept: from 0 for the worst to 1 for the best, then stretched to the mean that is due."""
    low, high = min(values), max(values)
    unit = [(one - low) / (high - low) if stay else (high - one) / (high - low) for one in values]
    mean, due = sum(unit) / len(unit), percent / 100
    if due <= mean:
        return [one * due / mean for one in unit]
    return [1 - (1 - one) * (1 - due) / (1 - mean) for one in unit]


def longhand(bag: Bag, scores, removable, stay: bool, by: str, percent=(10, 30, 50, 70, 90), draws=8, seed=0) -> float:
    places, size = sorted_places(scores, removable, by=by), abs if by == "magnitude" else float
    numbers = np.random.RandomState(seed).random_sample((draws, len(places)))
    total = 0.0
    for one in percent:
        chances = probabilities([size(scores[place]) for place in places], one, stay)
        for row in numbers:
            gone = {place for place, number, chance in zip(places, row, chances, strict=True) if not number < chance}
            total += bag.whole() - bag.said(bag.everything - gone)
    return total / len(percent) / draws


@pytest.mark.parametrize("by", ["value", "magnitude"])
@pytest.mark.parametrize("options", [{}, {"percent": (20, 100), "draws": 3, "seed": 5}])
@BOTH
@given(example=short_texts())
def test_it_is_the_mean_over_the_variants(metric, options, by, example):
    bag, scores, removable = example
    found = metric.score(scores, bag, removable, by=by, **options)
    values = {abs(one) if by == "magnitude" else one for one in scores[removable]}
    if not removable.any():
        assert found.reason == "no token may be removed"
    elif len(values) == 1:
        assert found.reason == "constant scores"
    else:
        wanted = longhand(bag, scores, removable, metric is SUFFICIENCY, by, **options)
        assert found.value == pytest.approx(wanted, abs=1e-9)
        assert found.value == pytest.approx(np.mean(list(found.curve.values())), abs=1e-12)


@BOTH
def test_many_draws_come_near_the_expectation_over_all_variants(metric):
    bag, scores = Bag([2.0, -1.0, 0.5, 1.0], bias=-0.5), np.array([3.0, 0.5, 1.0, -1.0])
    for percent in (20, 60):
        chances = probabilities(scores.tolist(), percent, metric is SUFFICIENCY)
        expected = sum(
            math.prod(p if stays else 1 - p for p, stays in zip(chances, row, strict=True))
            * (bag.whole() - bag.said({token for token in range(4) if row[token]}))
            for row in product((True, False), repeat=4)
        )
        found = metric.score(scores, bag, np.ones(4, bool), percent=(percent,), draws=5_000)
        assert found.value == pytest.approx(expected, abs=0.02)
        assert list(found.curve) == [f"{percent}%"]


@BOTH
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_as_many_tokens_stay_for_scores_that_are_large_all_over(metric, shift):
    """The share is met up to the spread of the draws, about 0.5 / √(20 · 500)."""
    draws = np.random.default_rng(2)
    scores = draws.gamma(0.5, size=20) + shift
    for percent in (10, 50, 90):
        bag = Bag([0.1] * 20)
        metric.score(scores, bag, np.ones(20, bool), percent=(percent,), draws=500)
        (kept,) = bag.asked
        assert kept[0].all()
        assert kept[1:].mean() == pytest.approx(percent / 100, abs=0.02)


@BOTH
def test_what_cannot_be_drawn_is_refused_and_one_token_has_no_other_to_be_compared_with(metric):
    for options, said in (
        ({"draws": 0}, "draws=0"),
        ({"percent": (0,)}, "percentages"),
        ({"percent": ()}, "percentages"),
    ):
        with pytest.raises(BadOption, match=said):
            metric.score(np.arange(3.0), Bag([1.0, 2.0, 3.0]), np.ones(3, bool), **options)
    bag = Bag([1.0])
    assert metric.score(np.array([2.0]), bag, np.ones(1, bool)).reason == "constant scores"
    assert bag.asked == []


def test_the_truth_is_better_than_its_opposite():
    weights = np.linspace(-1, 2, 12)
    bag = Bag(weights.tolist())
    for metric in (SUFFICIENCY, COMPREHENSIVENESS):
        good, bad = (metric.score(scores, bag, np.ones(12, bool)).value for scores in (weights, -weights))
        assert (good > bad) == metric.higher_is_better
