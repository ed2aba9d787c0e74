"""Weights of heads learned from ablations, from the rows to the file; and what cannot be learned from."""

import json

import numpy as np
import pytest
from tests.evidence.told import NAMES, ROWS, story
from tests.tracing.tiny import one_thread
from typer.testing import CliRunner

import contextmix as cm
from contextmix.cli import app
from contextmix.errors import BadInput, BadOption, OutputExists, UnsupportedModel
from contextmix.evidence.fit import LEARNED, _refuse_no_better, held_out_lds
from contextmix.evidence.learning import Judged
from contextmix.evidence.report import Report
from contextmix.maths.ablations import random_masks
from contextmix.maths.learned import Example
from contextmix.models.ablations import ablations_of
from contextmix.models.answer_ablation import sourced_answer
from contextmix.models.head_features import head_features
from contextmix.plugins.sources import lds
from contextmix.results.learned import Learned

FAST = {"masks": 16, "passes": [], "max_new_tokens": 8, "progress": False}


@pytest.fixture(scope="module")
def model():
    with one_thread():
        yield cm.load("demo-decoder")


@pytest.fixture(scope="module")
def fitted(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "weights.safetensors"
    report = cm.fit(ROWS, path, model=model, text_field="text", **FAST)
    return report, path


def test_the_weights_order_held_out_answers_better_than_the_mean(fitted):
    report, path = fitted
    table = report.tables[0].numbers
    assert list(table.index) == [LEARNED, "mean of evidence", "attention", "evidence", "recency"]
    assert table.loc[LEARNED, "LDS"] > table.loc["mean of evidence", "LDS"] + 0.02
    assert report.record["answers"] == {"learned from": 20, "held out": 10, "left out": {}}
    assert report.summary[0].startswith("Learned from 20 answers in")
    found = Learned.load(path)
    assert found.record["held_out_lds"][LEARNED] == pytest.approx(table.loc[LEARNED, "LDS"])
    assert found.record["model"] == "demo-decoder"
    assert found.record["data"]
    assert [len(one) for one in found.weights] == [8] * 5


def test_the_method_reads_the_file_and_gives_what_was_judged(model, fitted):
    """Sums over the tokens of sources are the weighted maps of heads that learning saw."""
    _, path = fitted
    text = story(99)
    answer = model.explain_answer(text, [(0, len(text))], max_new_tokens=8, units="whole", method="learned",
                                  weights=str(path))  # fmt: skip
    maps = head_features(model, answer, "evidence")
    theta = np.concatenate(Learned.load(path).weights)
    np.testing.assert_allclose(answer.by(units="whole").values[0], maps.values @ theta, rtol=1e-4)
    assert maps.heads == (8,) * 5
    assert answer.token_map.provenance.notes["weights"]["model"] == "demo-decoder"


def test_maps_of_heads_are_those_of_the_methods(model):
    text = story(3)
    answer = model.explain_answer(text, [(0, len(text))], max_new_tokens=4, units="whole")
    sourced = sourced_answer(model, answer)
    ids = list(sourced.ids)
    for method in ("attention", "norm"):
        rows = model.explain_generation({"input_ids": ids[: sourced.start]}, method, heads="each",
                                        continuation=ids[sourced.start :])  # fmt: skip
        found = head_features(model, answer, method).values.reshape(len(sourced.sources), 5, 8)
        assert rows.dims == ("layer", "head", "query", "key")
        for number, places in enumerate(sourced.sources):
            expected = rows.values[..., list(places)].sum((-1, -2))
            np.testing.assert_allclose(found[number], expected, rtol=1e-4)


def test_held_out_figures_longhand(model):
    text = story(5)
    answer = model.explain_answer(text, [(0, len(text))], max_new_tokens=4, units="whole")
    maps = head_features(model, answer, "evidence").values
    masks = random_masks(len(maps), 12, seed=3)
    said = ablations_of(model, sourced_answer(model, answer))(masks).sum(1)
    theta = np.arange(40.0)
    judged = Judged(Example(maps, masks, said), said, {"other": maps[:, 0], "same": np.ones(len(maps)) * 0})
    found = held_out_lds([judged], theta)
    assert found[LEARNED]["LDS"] == [pytest.approx(lds(maps @ theta, masks, said).value)]
    assert found["other"]["count removed"] == [pytest.approx(lds(maps[:, 0], masks, said, count_removed=True).value)]
    assert found["same"]["LDS"] == [0.0]  # orders nothing


def test_weights_that_do_not_beat_the_mean_are_not_saved(tmp_path):
    report = Report("fit", "x", ["y"], record={"answers": {"learned from": 7}})
    worse = {LEARNED: {"LDS": [0.5, 0.4]}, "mean of norm": {"LDS": [0.5, 0.4]}}
    with pytest.raises(
        BadInput, match=r"are no better than the mean.*learned 0.450; mean of norm 0.450.*more than 7 answers"
    ):
        _refuse_no_better(worse, "norm", report)
    _refuse_no_better({**worse, LEARNED: {"LDS": [0.5, 0.41]}}, "norm", report)


@pytest.mark.parametrize(
    ("rows", "more", "error", "said"),
    [
        (ROWS[:8], {}, BadInput, "8 answers can be learned from or held out, and 6 held out leave 2"),
        (ROWS, {"held_out": 28}, BadInput, "28 held out leave 2"),
        (ROWS, {"held_out": 2}, BadOption, "held_out=2"),
        (ROWS, {"masks": 2}, BadOption, "masks=2"),
        (ROWS, {"feature": "magic"}, BadOption, "feature='magic'"),
        (ROWS, {"passes": [2]}, BadOption, "passes"),
        (ROWS, {"question_field": "text"}, BadOption, "Give one kind"),
        (ROWS, {"model": "demo"}, UnsupportedModel, "Bert"),
        ([{"text": "One sentence."}] * 9, {}, BadInput, "Left out were: 9 × fewer than 3 sources"),
    ],
)
def test_what_cannot_be_learned_from(model, tmp_path, rows, more, error, said):
    path = tmp_path / "w.safetensors"
    with pytest.raises(error, match=said):
        cm.fit(rows, path, **{"model": model, "text_field": "text", **FAST, **more})
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "w.safetensors").write_text("there")
    with pytest.raises(OutputExists):
        cm.fit([], tmp_path / "w.safetensors", model="no such model")
    with pytest.raises(BadOption, match="ends otherwise"):
        cm.fit([], tmp_path / "w.json", model="no such model")


def test_questions_and_context_cite_on_the_command_line(tmp_path):
    pytest.importorskip("sklearn")
    rows = [{"question": f"What did {NAMES[number % 6]} have?", "context": story(number)} for number in range(14)]
    rows[3]["context"] = ""
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    path = tmp_path / "w.safetensors"
    told = CliRunner().invoke(
        app,
        ["fit", "demo-decoder", str(tmp_path / "rows.jsonl"), "--out", str(path), "--masks", "12", "--passes", "8",
         "--feature", "norm", "--max-new-tokens", "6"],
    )  # fmt: skip
    said = " ".join(told.output.split())
    assert "context_cite, 8 passes" in said or "are no better than the mean" in said
    assert path.exists() == (told.exit_code == 0)
