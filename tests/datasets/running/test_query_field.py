"""Rows that name their own query."""

import numpy as np
import pytest

import contextmix as cm
from contextmix.errors import BadOption

ROWS = [
    {"text": "a deep and meaningful film .", "query": "meaningful"},
    {"text": "a deep and meaningful film .", "query": 5},
    {"text": "the plot is dull .", "query": -2},
    {"text": "a good film", "query": "plot"},
    {"text": "a good film", "query": 40},
    {"text": "a good film", "query": None},
    {"text": "a good film", "query": 0.5},
]


@pytest.fixture(scope="module")
def model():
    return cm.load("demo")


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    asked = {"methods": ["attention", "value_zeroing_rollout"], "layers": "all", "query_field": "query"}
    return cm.run(ROWS, tmp_path_factory.mktemp("run") / "out", model=model, progress=False, **asked)


@pytest.mark.parametrize("method", ["attention", "value_zeroing_rollout"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_row_has_the_scores_of_its_own_query(model, found, method, number):
    row = ROWS[number]
    alone = model.explain(row["text"], method, query=row["query"], layers="all").values
    np.testing.assert_allclose(found.row(number, method).values, alone, rtol=1e-5, atol=1e-6)


def test_the_first_two_rows_differ(found):
    first, second = (found.row(number, "attention").values for number in (0, 1))
    assert np.abs(first - second).max() > 0.01


def test_a_query_that_is_not_there_is_a_failure_of_its_row(found):
    assert found.failures()["problem"].to_dict() == {
        3: "unknown_token",
        4: "unknown_token",
        5: "missing_query",
        6: "wrong_query",
    }


def test_a_position_may_come_from_a_file_without_types(model, tmp_path):
    (tmp_path / "rows.tsv").write_text("text\tplace\na good film\t2\na good film\tfilm\n")
    found = cm.run(tmp_path / "rows.tsv", tmp_path / "out", model=model, query_field="place", progress=False)
    assert found.to_pandas()["query"].tolist() == [2, 3]


def test_one_query_for_all_and_one_for_each_contradict(tmp_path):
    with pytest.raises(BadOption, match="applies to all rows"):
        cm.run(ROWS, tmp_path, query=1, query_field="query")


def test_methods_of_the_whole_model_have_no_query(tmp_path):
    with pytest.raises(BadOption, match="query_field='query'"):
        cm.run(ROWS, tmp_path, methods="gradient", query_field="query")
