"""What the experiments share: orders of methods, and the published numbers."""

import numpy as np
import pytest

from contextmix.evidence.order import order, pairs
from contextmix.evidence.published import GLOBENC_CURVES, GLOBENC_LAYERS, GLOBENC_ROLLOUT
from contextmix.plugins.contracts import Scored


def drawn(**means):
    """Twenty texts with little noise around each mean."""
    draws = np.random.default_rng(0)
    return {name: (mean + 0.01 * draws.standard_normal(20)).tolist() for name, mean in means.items()}


def test_an_order_holds_is_undecided_or_turned():
    outcomes = drawn(a=0.9, b=0.7, c=0.7, d=0.8)
    found = order({"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}, outcomes, pairs(outcomes))
    assert (found.holds, found.undecided, found.reversed) == ([("a", "b")], [("b", "c")], [("c", "d")])
    means = {name: np.mean(values) for name, values in outcomes.items()}
    agreeing = [means[x] > means[y] for x, y in ("ab", "ac", "ad", "bc", "bd", "cd")]
    assert found.tau == pytest.approx((2 * sum(agreeing) - 6) / 6)


def test_equal_published_numbers_have_no_order():
    outcomes = drawn(a=0.9, b=0.7, c=0.1)
    found = order({"a": 0.5, "b": 0.5, "c": 0.2}, outcomes, pairs(outcomes))
    assert found.count == 1
    assert found.holds == [("b", "c")]


def test_methods_without_numbers_are_left_out():
    outcomes = {**drawn(a=0.9, c=0.1), "b": [Scored(None, "constant scores")] * 20}
    found = order({"a": 3.0, "b": 2.0, "c": 1.0}, outcomes, pairs(outcomes))
    assert found.holds == [("a", "c")]
    assert found.tau is None  # of two


def test_pairs_are_the_same_in_both_directions():
    tests = pairs(drawn(a=0.9, b=0.7))
    assert tests["a", "b"].test.difference == -tests["b", "a"].test.difference > 0
    assert tests["a", "b"].p_value == tests["b", "a"].p_value < 0.05


def test_published_tables_and_curves_agree_with_each_other():
    base = GLOBENC_ROLLOUT[0]
    assert base.name == "BERT-base SST-2"
    assert all(len(column.values) == 8 for column in GLOBENC_ROLLOUT)
    curves = {key: [float(number) for number in text.split()] for key, text in GLOBENC_CURVES.items()}
    assert {len(curve) for curve in curves.values()} == {12}
    assert {name: curve[-1] for (kind, name), curve in curves.items() if kind == "rollout"} == base.means
    for key, cells in GLOBENC_LAYERS.items():
        curve = curves[key]
        assert [mean for mean, _ in cells] == [curve[0], curve[5], curve[11], max(curve)]
