import warnings
from math import comb, fsum, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap, norm

from contextmix.errors import BadOption, NotFinite
from contextmix.plugins.contracts import Scored
from contextmix.statistics.summaries import FEWEST_FOR_INTERVAL, Summary, interval, normal_interval, summarise

values = st.lists(st.floats(-1, 1), min_size=1, max_size=30)


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 0.2, n)


# Summary


@given(values)
def test_mean_and_standard_deviation_of_the_population(numbers):
    found = summarise([Scored(one) for one in numbers])
    mean = fsum(numbers) / len(numbers)
    assert found.mean == pytest.approx(mean, abs=1e-12)
    assert found.sd == pytest.approx(sqrt(fsum((one - mean) ** 2 for one in numbers) / len(numbers)), abs=1e-9)
    assert (found.count, found.undefined) == (len(numbers), {})


def test_undefined_examples_are_counted_by_their_reason_and_enter_nothing():
    outcomes = [Scored(None, "constant scores"), Scored(1.0), Scored(None, "no marked token"), Scored(3.0), None]
    found = summarise([*outcomes, Scored(None, "constant scores")])
    assert found == Summary(2.0, 1.0, 2, {"constant scores": 2, "no marked token": 1, "no value": 1})


def test_nothing_defined_is_no_mean():
    assert summarise([]) == Summary(None, None, 0, {})
    assert summarise([Scored(None, "x")] * 3) == Summary(None, None, 0, {"x": 3})


# Intervals


def longhand_bca(sample: np.ndarray, means: np.ndarray, confidence: float) -> list[float]:
    """Efron (1987), eqs. for z0 and the acceleration, from resampled means."""
    n, mean = len(sample), sample.mean()
    bias = norm.ppf((np.sum(means < mean) + np.sum(means <= mean)) / (2 * len(means)))
    left_out = [fsum(sample[j] for j in range(n) if j != i) / (n - 1) for i in range(n)]
    middle = fsum(left_out) / n
    acceleration = fsum((middle - one) ** 3 for one in left_out) / (
        6 * fsum((middle - one) ** 2 for one in left_out) ** 1.5
    )
    bounds = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + norm.ppf(tail)
        bounds.append(np.percentile(means, 100 * norm.cdf(bias + z / (1 - acceleration * z))))
    return bounds


@pytest.mark.parametrize("n", [10, 40])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_bca_of_efron_from_resamples_of_our_own(n, confidence):
    sample = np.random.default_rng(n).exponential(size=n)
    means = np.random.default_rng(9).choice(sample, (200_000, n)).mean(1)
    found = interval(sample, confidence, resamples=200_000)
    assert found.method == "bootstrap, BCa"
    np.testing.assert_allclose([found.low, found.high], longhand_bca(sample, means, confidence), atol=0.02)
    plain = np.percentile(means, [50 - 50 * confidence, 50 + 50 * confidence])
    assert abs(found.high - plain[1]) > 0.04  # skewed values: BCa is another interval


def test_it_is_scipys_interval_and_the_seed_decides():
    sample = normal(50)
    wanted = bootstrap((sample,), np.mean, random_state=np.random.default_rng(4)).confidence_interval
    found = interval(sample, seed=4)
    assert (found.low, found.high) == (wanted.low, wanted.high)
    assert interval(sample, seed=4) == found
    assert interval(sample, seed=5) != found


@pytest.mark.parametrize(("make", "width"), [(interval, 2 * 1.96 * 0.2), (normal_interval, 2 * 2.5758 * 0.2)])
def test_the_width_falls_with_the_root_of_the_number_of_examples(make, width):
    for n in (100, 2500):
        found = make(normal(n))
        assert found.high - found.low == pytest.approx(width / sqrt(n), rel=0.15)
        assert found.low < normal(n).mean() < found.high


def test_95_of_100_intervals_hold_the_mean():
    held = [(found := interval(normal(60, seed), resamples=999)).low < 0.5 < found.high for seed in range(300)]
    assert binom.ppf(1e-4, 300, 0.93) <= sum(held) <= binom.ppf(1 - 1e-4, 300, 0.96)


def test_the_normal_interval_is_globencs_band():
    sample = normal(256)
    found = normal_interval([Scored(one) for one in sample])
    mean = fsum(sample) / 256
    sd = sqrt(fsum((one - mean) ** 2 for one in sample) / 256)
    assert found.method == "normal"
    assert found.low == pytest.approx(mean - 2.575 * sd / 16, abs=1e-4)
    assert found.high == pytest.approx(mean + 2.575 * sd / 16, abs=1e-4)
    wide = normal_interval(sample, 0.95)
    assert wide.high == pytest.approx(mean + 1.959964 * sd / 16, abs=1e-8)


def test_values_that_are_all_the_same_have_a_percentile_interval_of_no_width():
    found = interval([0.25] * 20)
    assert (found.low, found.high, found.method) == (0.25, 0.25, "bootstrap, percentile")


def test_very_many_examples_have_a_percentile_interval():
    sample = normal(10_001)
    found = interval(sample, resamples=500)
    assert found.method == "bootstrap, percentile"
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.2 / 100, rel=0.2)
    assert interval(sample[1:], resamples=20).method == "bootstrap, BCa"


@pytest.mark.parametrize("make", [interval, normal_interval])
def test_too_few_examples_are_said_and_undefined_ones_do_not_count(make):
    few = [Scored(one) for one in normal(FEWEST_FOR_INTERVAL - 1)]
    found = make([*few, Scored(None, "constant scores"), None])
    assert (found.low, found.high) == (None, None)
    assert found.reason == "9 examples: at least 10 are needed for an interval"
    assert make([Scored(0.5)]).reason.startswith("1 example: ")
    assert make([]).reason.startswith("0 examples: ")
    enough = make([*few, Scored(0.5), Scored(None, "constant scores")])
    assert enough.reason == ""
    assert enough == make([*few, 0.5])


@pytest.mark.parametrize("make", [interval, normal_interval, summarise])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused(make, bad):
    with pytest.raises(NotFinite, match="1 of the values are NaN or infinite"):
        make([0.5] * 20 + [bad])


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_a_confidence_that_is_none_is_refused(confidence):
    for make in (interval, normal_interval):
        with pytest.raises(BadOption, match="not between 0 and 1"):
            make(normal(20), confidence)
    with pytest.raises(BadOption, match="draws nothing"):
        interval(normal(20), resamples=0)


def test_the_fewest_examples_have_many_different_resamples():
    assert comb(2 * FEWEST_FOR_INTERVAL - 1, FEWEST_FOR_INTERVAL) > 9999


def test_values_that_differ_by_rounding_have_an_interval_and_no_warning():
    """Correlations of a thing with itself: BCa divides zero by zero."""
    values = [1.0, 1.0 - 1e-16 * 2, *[1.0 - 1.1e-16] * 3, *[1.0] * 15]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = interval(values)
    assert (round(found.low, 12), round(found.high, 12)) == (1.0, 1.0)
