from itertools import product
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test, ttest_rel

from contextmix.errors import BadInput, BadOption, NotFinite, WrongShape
from contextmix.plugins.contracts import Scored
from contextmix.statistics.significance import FEWEST_FOR_TEST, holm, paired_test

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def pairs(n: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    first = generator.normal(size=n)
    return first + shift, first + generator.normal(size=n)


def longhand(first: np.ndarray, second: np.ndarray) -> float:
    """Every way of swapping pairs, one after another."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    observed = fsum(differences)
    sums = [
        fsum(s * d for s, d in zip(signs, differences, strict=True)) for signs in product((1, -1), repeat=len(first))
    ]
    above = sum(one >= observed - 1e-9 for one in sums) / len(sums)
    below = sum(one <= observed + 1e-9 for one in sums) / len(sums)
    return min(1, 2 * min(above, below))


def scipys(first: np.ndarray, second: np.ndarray, resamples: int) -> float:
    def mean_difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return (a - b).mean(axis)

    draws = np.random.default_rng(0)
    return permutation_test(
        (first, second),
        mean_difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        random_state=draws,
    ).pvalue


@pytest.mark.parametrize("n", [6, 7, 10])
@pytest.mark.parametrize("shift", [0.0, 0.5, -2.0])
def test_few_pairs_are_swapped_in_every_way(n, shift):
    first, second = pairs(n, shift, seed=n)
    found = paired_test(first, second)
    assert found.p_value == pytest.approx(longhand(first, second), abs=1e-12)
    assert found.difference == pytest.approx(fsum(first - second) / n)
    assert found.p_value == pytest.approx(scipys(first, second, 2**n))
    assert (found.count, found.left_out, found.reason) == (n, 0, "")


@pytest.mark.parametrize(("n", "shift"), [(40, 0.05), (40, 0.15), (200, 0.05), (200, 0.1)])
def test_many_pairs_give_scipys_p_value_and_nearly_that_of_the_t_test(n, shift):
    first, second = pairs(n, shift)
    found = paired_test(first, second)
    assert found.p_value == pytest.approx(ttest_rel(first, second).pvalue, rel=0.15, abs=0.01)
    assert found.p_value == pytest.approx(scipys(first, second, 9999), rel=0.06, abs=0.006)
    swapped = paired_test(second, first)
    assert swapped.difference == pytest.approx(-found.difference)
    assert swapped.p_value == pytest.approx(found.p_value, rel=0.15, abs=0.01)


def test_no_p_value_is_zero_and_the_seed_decides():
    first, second = pairs(100, 5.0)
    assert paired_test(first, second, resamples=999).p_value == pytest.approx(1 / 1000)
    first, second = pairs(100, 0.2)
    assert paired_test(first, second, seed=1) == paired_test(first, second, seed=1)
    assert paired_test(first, second, seed=1) != paired_test(first, second, seed=2)


def test_methods_that_are_alike_seldom_differ_significantly():
    found = [paired_test(*pairs(30, 0.0, seed), resamples=499).p_value < 0.05 for seed in range(200)]
    assert 1 <= sum(found) <= 22  # 10 expected
    same = np.linspace(0.1, 1, 20)
    assert paired_test(same, same).p_value == 1


def test_differences_of_one_size_tie_whatever_their_rounding():
    # Sums of ±0.1 are equal where as many are positive; 2 · P(at least 9 heads of 10) by hand.
    first = np.array([0.1] * 9 + [-0.1]) + 0.7
    assert paired_test(first, np.full(10, 0.7)).p_value == pytest.approx(2 * (10 + 1) / 2**10)


@pytest.mark.parametrize("n", [14, 3000])
def test_every_random_swap_is_drawn_once_whatever_the_batches(n, monkeypatch):
    first, second = pairs(n, 0.02)
    found = paired_test(first, second, resamples=2000)
    monkeypatch.setattr("contextmix.statistics.significance.BATCH", 7 * n)
    assert paired_test(first, second, resamples=2000).p_value == pytest.approx(found.p_value, abs=0.06)
    assert found.p_value * 2001 == pytest.approx(round(found.p_value * 2001))


def test_only_pairs_that_are_both_defined_count():
    first, second = pairs(8, 1.0)
    gap = Scored(None, "constant scores")
    left = [gap, *map(Scored, first), Scored(9.0), gap]
    right = [Scored(5.0), *second, None, gap]
    found = paired_test(left, right)
    assert (found.count, found.left_out) == (8, 3)
    assert found.p_value == paired_test(first, second).p_value
    assert found.difference == pytest.approx((first - second).mean())


def test_too_few_pairs_are_said():
    first, second = pairs(FEWEST_FOR_TEST - 1, 9.0)
    found = paired_test(first, second)
    assert found.p_value is None
    assert found.difference == pytest.approx((first - second).mean())
    assert found.reason == "5 examples: at least 6 are needed for a p-value below 0.05"
    none = paired_test([None], [0.5])
    assert (none.difference, none.p_value, none.count, none.left_out) == (None, None, 0, 1)
    # The bound is the smallest number of pairs whose smallest p-value is below 0.05.
    assert longhand(first, second) >= 0.05
    assert longhand(*pairs(FEWEST_FOR_TEST, 9.0)) < 0.05


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(WrongShape, match="first has 7 examples and the second 8"):
        paired_test(np.arange(7.0), np.arange(8.0))
    with pytest.raises(NotFinite, match="1 of the values"):
        paired_test(np.arange(7.0), [np.nan, *np.arange(6.0)])
    with pytest.raises(BadOption, match="draws nothing"):
        paired_test(np.arange(7.0), np.arange(7.0), resamples=0)


# Holm


@given(p_lists, st.floats(0.001, 0.999))
def test_holm_rejects_step_by_step_as_the_paper_says(p_values, level):
    corrected = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for k, i in enumerate(order):  # the smallest against level/m, the next against level/(m − 1), … until one fails
        if (len(p_values) - k) * p_values[i] > level:
            assert all(corrected[j] > level for j in order[k:])
            break
        assert corrected[i] <= level


@given(p_lists)
def test_holm_keeps_the_order_and_lies_between_the_p_value_and_bonferroni(p_values):
    corrected, given_ = holm(p_values), np.array(p_values)
    assert (corrected >= given_).all()
    assert (corrected <= np.minimum(1, len(given_) * given_) * (1 + 1e-12)).all()
    assert (np.diff(corrected[np.argsort(given_, kind="stable")]) >= 0).all()
    assert corrected.max() <= 1


def test_holm_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("bad", [[-0.1, 0.5], [0.5, 1.1], [float("nan")]])
def test_holm_refuses_what_is_no_p_value(bad):
    with pytest.raises(BadInput, match="P-values lie between 0 and 1"):
        holm(bad)
