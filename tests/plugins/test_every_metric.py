"""What every metric promises, asked of whatever file lies in `metrics/`: a new file is tested the moment it exists."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextmix.plugins.contracts import Metric, Scored, options_of
from contextmix.plugins.papers import Paper
from contextmix.plugins.scoring import METRICS

FOLDER = importlib.import_module("contextmix.metrics").__path__  # the name `contextmix.metrics` may be the function
FILES = sorted(module.name for module in pkgutil.iter_modules(FOLDER))
YES_OR_NO = {"pointing"}
AS_MANY = {"needle_recall": {"share": 0.5}}  # as many tokens count as the best as are marked, half of them
PAGES = [path.read_text("utf-8") for path in sorted((Path(__file__).parents[2] / "docs").glob("metrics*.md"))]


def named_values(name: str) -> list[dict[str, object]]:
    """No options, and each value that the type of an option names."""
    hints = get_type_hints(METRICS[name].score)
    found: list[dict[str, object]] = [{}]
    for option in options_of(METRICS[name].score):
        values = (True, False) if hints[option] is bool else get_args(hints[option])
        named = hints[option] is bool or get_origin(hints[option]) is Literal
        found += [{option: value} for value in values if named]
    return found


CASES = [pytest.param(name, options, id=f"{name}-{options}") for name in FILES for options in named_values(name)]
each_file = pytest.mark.parametrize("name", FILES)
each_case = pytest.mark.parametrize(("name", "options"), CASES)


def bag_of_words(weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A model whose logit is the sum of the weights of the tokens that are kept."""

    def predict(kept: np.ndarray) -> np.ndarray:
        assert kept.dtype == bool
        assert kept.shape[1:] == weights.shape
        positive = 1 / (1 + np.exp(-(kept @ weights)))
        return np.stack([1 - positive, positive], axis=1)

    return predict


def ask(name: str, scores: np.ndarray, other: np.ndarray, order: list[int] | None = None, /, **options) -> Scored:
    """The metric with what it compares with made of the numbers ``other``; tokens in another order if one is given.

    A reference is these numbers; marked are those above zero; a model is the bag of words with these weights, and the
    first token may not be taken away.
    """
    order = list(range(len(scores))) if order is None else order
    scores, other, removable = scores[order], other[order], (np.arange(len(scores)) > 0)[order]
    if METRICS[name].against == "model":
        return METRICS[name].score(scores, bag_of_words(np.clip(other, -20, 20)), removable, **options)
    return METRICS[name].score(scores, other if METRICS[name].against == "reference" else other > 0, **options)


def keeps_its_promise(metric: Metric, found: Scored) -> None:
    """A number in its range or a reason, never both, never neither, never NaN."""
    assert isinstance(found, Scored)
    assert (found.value is None) == bool(found.reason)
    assert all(isinstance(key, str) and math.isfinite(value) for key, value in found.curve.items())
    if found.value is not None:
        low, high = metric.bounds
        assert type(found.value) is float
        assert math.isfinite(found.value)
        assert low is None or low <= found.value
        assert high is None or found.value <= high


def same(found: Scored, wanted: Scored) -> None:
    assert found.reason == wanted.reason
    assert found.value == (wanted.value if wanted.value is None else pytest.approx(wanted.value, abs=1e-9))
    assert dict(found.curve) == pytest.approx(dict(wanted.curve), abs=1e-9)


@st.composite
def texts(draw: st.DrawFn, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores and what they are compared with: ties, zeros, constants, and numbers of every size."""
    n = draw(st.integers(least, 9))
    numbers = st.integers(-2, 2).map(float) | st.floats(allow_nan=False, allow_infinity=False)
    lists = st.lists(numbers, min_size=n, max_size=n) | numbers.map(lambda one: [one] * n)
    return np.array(draw(lists)), np.array(draw(lists))


def distinct(seed: int, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Positive scores without ties, and numbers of both signs to compare with."""
    generator = np.random.default_rng(seed)
    return generator.permutation(n) + generator.uniform(0.1, 0.4, n), generator.permutation(n) - n / 2 + 0.25


# The files


def test_every_file_is_found():
    assert set(FILES) == set(METRICS)
    assert {"spearman", "average_precision"} <= set(FILES)  # reading nothing would pass everything


@each_file
def test_a_metric_says_what_it_is(name):
    one = METRICS[name]
    assert one.name == name
    assert one.against in ("reference", "rationale", "model")
    assert isinstance(one.higher_is_better, bool)
    assert isinstance(one.paper, Paper)
    assert one.paper.url.startswith("https://")
    assert one.formula.strip()
    assert one.cost.strip()
    low, high = one.bounds
    assert low is None or high is None or low < high
    assert importlib.import_module(f"contextmix.metrics.{name}").__doc__.splitlines()[0].endswith((".", "?"))


@each_file
def test_its_docstring_says_what_goes_in_what_comes_out_and_where_it_is_from(name):
    docs = METRICS[name].score.__doc__
    assert all(f"{part}:" in docs for part in ("Args", "Returns", "Source", "Example"))


@each_file
def test_its_arguments_are_those_of_its_kind_and_its_options_have_defaults_and_are_documented(name):
    expected = {
        "reference": ["scores", "reference"],
        "rationale": ["scores", "rationale"],
        "model": ["scores", "predict", "removable"],
    }
    options = options_of(METRICS[name].score)
    asked = [one for one in inspect.signature(METRICS[name].score).parameters if one not in options]
    assert asked == expected[METRICS[name].against]
    assert all(one.default is not inspect.Parameter.empty for one in options.values())
    assert all(f"{option}: " in METRICS[name].score.__doc__ for option in options)


@each_file
def test_a_page_tells_of_it_and_a_section_of_its_own_has_its_formula(name):
    assert any(f"`{name}`" in page for page in PAGES)
    for page in PAGES:
        _, heading, rest = page.partition(f"### `{name}`\n")
        assert not heading or METRICS[name].formula in rest.partition("\n#")[0]


# The numbers


@each_case
@given(text=texts())
def test_it_is_a_number_in_its_range_or_a_reason(name, options, text):
    keeps_its_promise(METRICS[name], ask(name, *text, **options))


@each_case
def test_a_usual_text_has_a_number_and_texts_differ(name, options):
    found = [ask(name, *distinct(seed, n=12), **options) for seed in range(12)]
    assert not any(one.reason for one in found)
    assert len({one.value for one in found}) > (1 if name in YES_OR_NO else 2)


@each_case
@given(text=texts(least=4), size=st.floats(-1e6, 1e6))
def test_constant_scores_have_a_reason_or_the_docstring_says_what_they_give(name, options, text, size):
    found = ask(name, np.full_like(text[0], size), text[1], **options)
    keeps_its_promise(METRICS[name], found)
    assert found.reason or "Constant scores " in METRICS[name].score.__doc__


@each_file
@pytest.mark.parametrize("n", [0, 1, 2])
def test_very_short_texts_raise_nothing(name, n):
    if n or METRICS[name].against != "model":
        keeps_its_promise(METRICS[name], ask(name, *distinct(0, n)))


@each_case
def test_it_changes_nothing_that_it_is_given_and_repeats_exactly(name, options):
    scores, other = distinct(3)
    for one in (scores, other):
        one.flags.writeable = False
    before = scores.copy(), other.copy()
    found = ask(name, scores, other, **options)
    assert ask(name, scores, other, **options) == found
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(other, before[1])


@each_case
@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_tokens_does_not_count(name, options, seed):
    order = np.random.default_rng(seed).permutation(8).tolist()
    same(ask(name, *distinct(seed), order, **options), ask(name, *distinct(seed), **options))


@pytest.mark.parametrize("name", [name for name in FILES if METRICS[name].against != "model"])
@given(text=texts(least=3), seed=st.integers(0, 99))
def test_the_order_of_tied_tokens_does_not_count(name, text, seed):
    order = np.random.default_rng(seed).permutation(len(text[0])).tolist()
    same(ask(name, *text, order), ask(name, *text))


@each_case
@pytest.mark.parametrize("unit", [2.0**-30, 2.0**30])
def test_the_unit_of_the_scores_does_not_count(name, options, unit):
    scores, other = distinct(1)
    same(ask(name, scores * unit, other, **options), ask(name, scores, other, **options))


@pytest.mark.parametrize("name", [name for name in FILES if METRICS[name].against == "reference"])
def test_a_text_agrees_with_itself_as_far_as_can_be(name):
    scores, _ = distinct(2)
    assert ask(name, scores, scores).value == pytest.approx(METRICS[name].bounds[1])


@pytest.mark.parametrize("name", [name for name in FILES if METRICS[name].against == "rationale"])
def test_scores_that_are_the_marks_are_the_best_and_the_others_are_worse(name):
    _, other = distinct(2)
    best = METRICS[name].bounds[METRICS[name].higher_is_better]
    options = AS_MANY.get(name, {})
    assert ask(name, (other > 0) * 1.0, other, **options).value == pytest.approx(best)
    worst = ask(name, (other <= 0) * 1.0, other, **options).value
    assert (worst < best) == METRICS[name].higher_is_better
    assert worst != best
