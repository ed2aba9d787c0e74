"""Comparisons from the data to the files, and what is said where something is missing."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from tests.evidence.texts import TEXTS, WORDS
from tests.tracing.tiny import build, word_pieces

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnknownName
from contextmix.evidence import cost, planning
from contextmix.evidence.contest import contest
from contextmix.evidence.cost import measured_costs
from contextmix.evidence.evaluate import evaluate
from contextmix.evidence.experiment import Setup
from contextmix.evidence.planning import Request, planned
from contextmix.evidence.streamed import source_of
from contextmix.evidence.words import labels_said
from contextmix.evidence.workers import usual_workers


def compared(model, tmp_path, rows=None, **more):
    rows = [{"text": text, "label": number % 2} for number, text in enumerate(TEXTS)] if rows is None else rows
    known = {"methods": ["globenc", "occlusion"], "metrics": ["aopc", "spearman"], "progress": False}
    return evaluate(rows, tmp_path / "out", model=model, **{**known, **more})


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("evaluation")
    rows = [{"text": text, "label": 0, "why": [0, 1, 0, 0]} for text in TEXTS]
    rows[3]["why"] = None
    methods = ["globenc", "occlusion", "attention_rollout"]
    metrics = ["aopc", "blank_out", "spearman", "token_f1", "randomised_weights"]
    report = compared(model, place, rows, methods=methods, metrics=metrics, rationale_field="why", sanity=10, seed=2)
    return report, place / "out"


def test_all_files_are_written_and_hold_the_same_numbers(found):
    _, out = found
    endings = {"evaluation": ("csv", "md", "tex", "png", "svg", "json"), "evaluation_tests": ("csv", "md", "tex")}
    endings["evaluation_cost"] = ("csv", "md", "tex")
    assert all((out / f"{name}.{ending}").stat().st_size for name, kinds in endings.items() for ending in kinds)
    written = pd.read_csv(out / "evaluation.csv", index_col=["metric", "method"])
    run = cm.open_run(out / "runs" / "metrics")
    for (metric, method), said in run.outcomes().items():
        if (metric, method) in written.index:
            values = [one.value for one in said if one.value is not None]
            assert written.loc[(metric, method), "mean"] == pytest.approx(np.mean(values))
            assert written.loc[(metric, method), "texts"] == len(values)
    own = {
        name: run.outcomes()["aopc", name]
        for name in ("globenc", "occlusion", "attention_rollout", "random", "recency", "attention+mean")
    }
    again = contest("aopc", own, higher=True, seed=2)
    assert written.loc[("aopc", again.best.method), "rank"] == "best"
    assert written.loc[("aopc", "globenc"), "low"] == pytest.approx(again["globenc"].interval.low)
    curve = cm.plots.curves({"globenc": own["globenc"]}).lines[0].get_ydata()
    assert np.mean(curve) == pytest.approx(written.loc[("aopc", "globenc"), "mean"], abs=1e-5)
    assert image.imread(out / "evaluation.png").std() > 0.01
    record = json.loads((out / "evaluation.json").read_text())
    assert record["settings"]["methods"]["random"] == {"seed": 2}
    assert record["model"]["weights"]


def test_the_table_has_methods_as_rows_and_metrics_as_columns(found):
    report, _ = found
    shown = report.tables[0].shown
    assert list(shown.index) == ["globenc", "occlusion", "attention_rollout", "random", "recency", "attention+mean"]
    assert list(shown.columns) == ["aopc ↑", "blank_out ↑", "spearman ↑", "token_f1 ↑", "randomised_weights ↓"]
    assert shown.loc["occlusion", "blank_out ↑"].startswith("1.00 [1.00, 1.00]†")
    assert shown.loc["random", "randomised_weights ↓"].endswith("†")
    assert shown.loc["recency", "randomised_weights ↓"].endswith("†")
    assert "†" not in shown.loc["attention+mean", "randomised_weights ↓"]  # it reads the weights


def test_what_has_no_number_is_said(found):
    report, _ = found
    text = "\n".join(report.summary)
    assert "No number for some texts, by token_f1: 1 × no rationale" in text
    assert "No text has the label LABEL_1" in text
    assert "nan" not in text
    assert "nan" not in report.text()


def test_costs_are_of_each_method(model, tmp_path, monkeypatch):
    """By a clock that ticks once per run of the model, so that no other work on the machine is measured."""
    runs = [0]

    def ticks(*_):
        runs[0] += 1

    hook = model.model.register_forward_pre_hook(ticks)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: float(runs[0])))
    costs = compared(model, tmp_path, methods=["globenc", "occlusion"], metrics=["aopc"]).tables[2].numbers
    hook.remove()
    assert costs.loc["globenc", "forward passes"] == 1.0
    assert costs.loc["occlusion", "forward passes"] > costs.loc["globenc", "forward passes"]


def test_an_interrupted_comparison_goes_on(found, model, monkeypatch):
    """What is there is not measured again."""
    report, out = found
    monkeypatch.setattr("contextmix.datasets.running.work.Work._finish", None)
    rows = [{"text": text, "label": 0, "why": [0, 1, 0, 0]} for text in TEXTS]
    rows[3]["why"] = None
    again = evaluate(
        rows, out, model=model, methods=["globenc", "occlusion", "attention_rollout"], rationale_field="why",
        metrics=["aopc", "blank_out", "spearman", "token_f1", "randomised_weights"], sanity=10, seed=2, progress=False,
    )  # fmt: skip
    assert again.tables[0].shown.equals(report.tables[0].shown)


def test_all_leaves_out_by_name_what_is_slow_and_what_the_data_lack(model, tmp_path):
    report = compared(model, tmp_path, methods=["globenc"], metrics="all", sanity=4)
    (said,) = [line for line in report.summary if line.startswith("Metrics left out")]
    assert "auprc, token_f1 and token_iou (the data has no rationales" in said
    assert {name.split()[0] for name in report.tables[0].shown.columns} >= {"aopc", "deletion_area", "spearman"}


def test_special_tokens_are_left_out_of_the_trial_and_of_the_run(model, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(planning, "measured_costs", lambda *asked: seen.extend(asked[2]) or measured_costs(*asked))
    compared(model, tmp_path, add_special_tokens=False)
    table = cm.open_run(tmp_path / "out/runs/metrics").to_pandas()
    both = [*(one.inputs.tokens.pieces for one in seen), *table["tokens"]]
    assert seen
    assert all("[CLS]" not in pieces for pieces in both)


def test_too_few_texts_name_no_winner(model, tmp_path):
    report = compared(model, tmp_path, [{"text": text} for text in TEXTS[:5]], metrics=["aopc"])
    assert "aopc: a comparison needs a number for at least 10 texts, and there are 5" in report.summary[0]
    assert "The data has no labels" in "\n".join(report.summary)
    assert report.tables[1].numbers.empty
    assert not report.tables[0].numbers["low"].notna().any()


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"metrics": ["token_f1"]}, BadOption, "rationale_field"),
        ({"methods": ["globank"]}, UnknownName, "globenc"),
        ({"metrics": ["aopk"]}, UnknownName, "aopc"),
        ({"removal": "unknwon"}, BadOption, "removal"),
        ({"options": {"decompx": {}}}, BadOption, "decompx"),
        ({"target": "joyful"}, BadOption, "joyful"),
        ({"metrics": ["aopc"], "reference": "globank"}, UnknownName, "globenc"),
        ({"sanity": 0}, BadOption, "sanity=0"),
    ],
)
def test_what_cannot_be_is_refused(model, tmp_path, more, error, said):
    with pytest.raises(error, match=said):
        compared(model, tmp_path, **more)


@pytest.mark.parametrize(
    ("removal", "said"), [("infill", "the model writes no tokens"), ("unknown", "no tokenizer names a token")]
)
def test_a_removal_that_the_model_cannot_do_is_refused_before_the_work(tmp_path, removal, said):
    bare = word_pieces()
    bare.unk_token = None
    model = cm.load(build("bert", "ForSequenceClassification"), bare)
    with pytest.raises(BadOption, match=f"metric aopc cannot be used here.*{said}"):
        compared(model, tmp_path, metrics=["aopc"], removal=removal)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize("removal", ["masked_keys", "zero", "infill"])
def test_a_decoder_is_compared_by_every_way_of_taking_tokens_away(tmp_path, removal):
    rows = [{"text": f"Once there was a {word} dog"} for word in WORDS[:4]]
    report = evaluate(
        rows, tmp_path / "out", model="demo-decoder", methods=["globenc"], removal=removal, progress=False, workers=1,
        metrics=["aopc", "naopc", "mas", "disruption", "recovery", "soft_sufficiency", "soft_comprehensiveness"],
    )  # fmt: skip
    assert report.tables[0].numbers["mean"].notna().sum() >= 12


def test_figures_that_cannot_be_drawn_are_refused_before_anything_is_measured(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(BadOption, match="plot"):
        compared(model, tmp_path)
    with pytest.raises(BadOption, match="plot"):
        cm.reproduce("globenc", tmp_path / "out", model=model, only=["outliers"], progress=False)
    assert not (tmp_path / "out").exists()


def test_labels_name_no_classes_of_a_model_that_has_a_vocabulary():
    rows = [{"text": f"a {word} film", "label": number % 2} for number, word in enumerate(WORDS)]
    setup = Setup("demo-decoder", rows, Path())
    assert planned(setup, Request(["globenc"], ["aopc"], {}, {}, "norm", None, None)).classes == []


def test_rows_that_cannot_be_measured(model, tmp_path):
    with pytest.raises(BadInput, match="None of the first 2 rows"):
        compared(model, tmp_path, [{"text": ""}, {"text": None}])


@pytest.mark.parametrize(("threads", "wanted"), [(1, 1), (2, 2), (64, 3)])
def test_a_small_model_and_a_file_are_shared_by_processes(model, tmp_path, monkeypatch, threads, wanted):
    """As many as there are processors, and no more than parts of the data."""
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    path = tmp_path / "rows.txt"
    path.write_text("a film\n" * 40)
    named, given = Setup("demo", path, tmp_path), Setup(model, path, tmp_path)
    assert usual_workers(named, source_of(named), 16) == wanted
    assert usual_workers(given, source_of(given), 16) == 1
    memory = replace(named, data=[{"text": "a film"}] * 40)
    assert usual_workers(memory, source_of(memory), 16) == 1
    monkeypatch.setattr("contextmix.evidence.workers.MODEL_BYTES", 1)
    assert usual_workers(named, source_of(named), 16) == 1


def test_labels_that_the_model_does_not_have_an_empty_class_and_none():
    frame = pd.DataFrame({"label": ["joy", "0"], "prediction": ["bad", "bad"]})
    assert labels_said(frame, ["bad", "good"])[0].startswith("Labels that are no classes of the model: joy. It has")
    named = pd.DataFrame({"label": ["bad", "0", None], "prediction": ["bad", "good", "good"]})
    right, empty = labels_said(named, ["bad", "good"])
    assert right == "The model predicts the label of 50 % of the 2 labelled texts (bad 2, good 0)."
    assert "No text has the label good" in empty
    assert labels_said(pd.DataFrame({"label": [None], "prediction": ["x"]}), []) == []


def test_random_scores_are_worse_than_occlusion_on_the_demo(tmp_path):
    texts = ["a deep and moving film .", "dull and far too long .", "a warm , funny story", "an awful mess", "pure joy"]
    texts += ["the worst film of the year", "a clever and charming comedy", "tedious", "a great cast", "nobody laughed",
              "simply wonderful", "it is a bore ."]  # fmt: skip
    report = evaluate(
        [{"text": text} for text in texts], tmp_path, methods=["occlusion"], metrics=["aopc"], progress=False
    )
    assert "It beats random scores" in report.summary[0]
    means = report.tables[0].numbers["mean"]
    assert means["aopc", "occlusion"] > means["aopc", "random"] + 0.05
