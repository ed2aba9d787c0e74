"""Names as people know them: every plug-in has one, no two the same, and reading them runs no plug-in."""

import subprocess
import sys

import pytest

from contextmix.plugins.contracts import ModelMethod
from contextmix.plugins.registry import AGGREGATIONS, METHODS, METRICS
from contextmix.plugins.titles import QUESTIONS, aggregation_title, asks, metric_title, title_of

REGISTRIES = {"methods": METHODS, "aggregations": AGGREGATIONS, "metrics": METRICS}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_plug_in_says_how_people_call_it_and_no_two_the_same(kind):
    registry = REGISTRIES[kind]
    titles = [registry.described(name).title for name in registry.names]
    assert all(titles)
    assert len(set(titles)) == len(titles)
    assert not any("_" in title for title in titles)


def test_names_of_the_papers_and_of_both_parts():
    assert title_of("globenc") == "GlobEnc"
    assert title_of("hta") == "HTA"
    assert title_of("gradient-inputs") == "Gradient × input"
    assert title_of("value_zeroing+max") == "Value Zeroing, maximum"
    assert (aggregation_title("last"), metric_title("aopc")) == ("Last layer", "AOPC")


def test_a_name_of_another_version_stays_as_it_is():
    assert [one("no_such_thing") for one in (title_of, aggregation_title, metric_title)] == ["no_such_thing"] * 3
    assert title_of("globenc+nothing") == "globenc+nothing"


def test_each_method_answers_one_of_the_questions():
    assert {asks(name) for name in METHODS.names} == set(QUESTIONS)
    assert all((asks(name) == "score") == isinstance(METHODS.described(name), ModelMethod) for name in METHODS.names)
    assert asks("attention_rollout") == asks("attention+max") == "attention"
    assert asks("globenc") == asks("of another version") == "vector"


def test_titles_are_read_without_torch():
    code = (
        "import sys; from contextmix.plugins.titles import title_of; print(title_of('globenc'), 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["GlobEnc", "False"]
