import numpy as np
import pytest

import contextmix as cm
from contextmix.errors import BadInput, BadOption, ContextMixError, NotFinite, UnknownName, WrongQuantity, WrongShape
from contextmix.plugins.scoring import METRICS, score


def test_a_metric_is_found_by_its_name_and_given_what_it_needs():
    assert score("spearman", [1, 2, 3], [1, 2, 3]).value == pytest.approx(1)
    assert score("cue-dot-product", [1, 2, 1], [0, 1, 0]).value == 0.5
    assert score("token_f1", np.float32([0.5, 0.4, 0.3]), [True, False, True], top=1).value == pytest.approx(2 / 3)


def test_a_metric_of_a_model_gets_the_function_and_the_tokens_that_may_go(monkeypatch):
    from contextmix.plugins.contracts import Metric, Scored
    from contextmix.plugins.papers import DEYOUNG_2020

    def drop(scores, predict, removable):
        return Scored(float(predict(~removable[None])[0, 1]), curve={"sum": scores.sum()})

    one = Metric("drop", drop, "model", True, "p", DEYOUNG_2020, "1 run")
    monkeypatch.setitem(METRICS._plugins(), "drop", one)
    found = score("drop", [1, 2], lambda kept: kept * [[0.5, 0.25]], [True, False])
    assert (found.value, found.curve) == (0.25, {"sum": 3.0})
    with pytest.raises(BadInput, match="takes scores and then a predict function and the removable tokens; got 1"):
        score("drop", [1, 2], lambda kept: kept)


@pytest.mark.parametrize(
    ("refusal", "match", "asked"),
    [
        (UnknownName, r"no metric 'spearmen'.*'spearman'", ("spearmen", [1, 2], [1, 2])),
        (BadInput, "spearman takes scores and then a reference; got 0", ("spearman", [1, 2])),
        (BadInput, "auprc takes scores and then a rationale; got 2", ("auprc", [1, 2], [0, 1], [0, 1])),
        (NotFinite, r"reference are NaN or infinite at the tokens \[1\]", ("spearman", [1, 2, 3], [1, np.nan, 2])),
        (NotFinite, r"scores are NaN or infinite at the tokens \[0, 2\]", ("auprc", [np.inf, 2, np.nan], [0, 1, 0])),
        (WrongShape, r"scores have the shape \(1, 2\)", ("spearman", [[1, 2]], [1, 2])),
        (WrongShape, r"3 tokens .* has the shape \(2,\)", ("kendall", [1, 2, 3], [1, 2])),
        (WrongShape, r"3 tokens .* has the shape \(2,\)", ("auprc", [1, 2, 3], [True, False])),
        (WrongQuantity, "marks > 0.5", ("auprc", [1, 2, 3], [0.2, 1, 0])),
    ],
)
def test_what_cannot_be_compared_is_refused(refusal, match, asked):
    with pytest.raises(refusal, match=match):
        score(*asked)


def test_an_option_that_does_not_exist_or_has_no_such_value_is_refused():
    with pytest.raises(UnknownName, match=r"option of the metric token_f1 'tops'.*'top'"):
        score("token_f1", [1, 2], [0, 1], tops=1)
    with pytest.raises(UnknownName, match="option of the metric spearman"):
        score("spearman", [1, 2], [0, 1], top=1)
    with pytest.raises(BadOption, match="top='all'"):
        score("token_f1", [1, 2], [0, 1], top="all")


def test_an_undefined_example_is_an_answer_and_no_error():
    assert score("spearman", [1, 1, 1], [1, 2, 3]).reason == "constant scores"
    with pytest.raises(ContextMixError):
        score("spearman", [1, 1, np.nan], [1, 2, 3])


def test_the_table_of_metrics():
    table = cm.metrics()
    assert list(table.columns) == ["formula", "paper", "against", "better", "cost"]
    assert list(table.index) == list(METRICS)
    assert table.loc["probes_needed", ["paper", "against", "better"]].tolist() == [
        "Yin & Neubig 2022",
        "rationale",
        "lower",
    ]
    assert table.loc["spearman", "better"] == "higher"
    assert callable(cm.metrics)  # the folder has the same name
