"""Lines of tables: means with bounds, tests of one method against others."""

import numpy as np
import pytest
from scipy.stats import permutation_test

from contextmix.evidence.estimates import against, estimated, outcomes_of, short, verdict


def test_an_estimate_has_the_mean_and_bounds_around_it():
    values = np.random.default_rng(0).normal(0.4, 0.1, 200)
    found = estimated(outcomes_of(values))
    assert found["mean"] == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(200)
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.003)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.003)


def test_undefined_examples_are_counted_and_few_give_no_interval():
    found = estimated(outcomes_of(np.array([0.5, np.nan, 0.7])))
    assert (found["count"], found["undefined"], found["low"]) == (2, 1, None)
    assert "2 examples" in found["reason"]
    nothing = estimated(outcomes_of(np.array([np.nan])))
    assert nothing["mean"] is None
    assert short(nothing) == "– –"


def test_tests_are_paired_and_corrected_for_their_number():
    draws = np.random.default_rng(1)
    first, near = draws.normal(size=9), draws.normal(size=9)
    outcomes = {"a": list(first), "b": list(near), "c": list(first - 1)}
    found = against("a", outcomes)
    alone = permutation_test((first, near), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples")
    assert found.loc["b", "p"] == pytest.approx(alone.pvalue)
    assert found.loc["c", "p_holm"] == pytest.approx(2 * 2 / 2**9)
    assert found.loc["b", "p_holm"] == pytest.approx(max(found.loc["b", "p"], 2 * 2 / 2**9))
    assert found.loc["c", "difference"] == pytest.approx(1)


def test_too_few_examples_are_not_tested():
    found = against("a", {"a": [0.1, 0.2], "b": [0.2, 0.3]})
    assert found.loc["b", "p_holm"] is None
    assert verdict("a", found, "size") == (
        "Whether a differs in size was not tested: 2 examples: at least 6 are needed for a p-value below 0.05."
    )


@pytest.mark.parametrize(
    ("b", "c", "said"),
    [
        ([0.5] * 8, [0.4] * 8, "a has more size than b and c (Holm, p < 0.05)."),
        ([0.5] * 8, [1.4] * 8, "a has more size than b and less size than c (Holm, p < 0.05)."),
        ([0.9] * 8, [0.9] * 8, "a does not differ significantly in size from b and c."),
    ],
)
def test_a_verdict_says_what_is_sure(b, c, said):
    assert verdict("a", against("a", {"a": [0.9] * 8, "b": b, "c": c}), "size") == said
