"""GlobEnc's experiments: what they say, what they write, and what they refuse."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from tests.experiments import longhand
from tests.experiments.conftest import BAD, GOOD, ROWS
from tests.tracing.tiny import build, word_pieces

import contextmix as cm
from contextmix.datasets.running.measure import Measurer
from contextmix.errors import BadInput, UnsupportedModel
from contextmix.evidence.globenc import MAPS
from contextmix.evidence.report import Report
from contextmix.evidence.reproduce import reproduce
from contextmix.experiments import globenc_outliers

SENTENCES = int(os.environ.get("CONTEXTMIX_LONGHAND", "8"))
NAMES = ["globenc_hta", "globenc_layers", "globenc_outliers", "globenc_rows", "globenc_table1"]


def only(name, where, data=ROWS, model="demo", **options):
    (report,) = reproduce("globenc", where, model=model, data=data, only=[name], progress=False, **options)
    return report


def said(report):
    return " ".join(report.summary)


def undefined_numbers(folder):
    """Texts that people read and that say NaN."""
    files = [path for path in folder.iterdir() if path.suffix in {".md", ".tex", ".json", ".csv"}]
    return [path.name for path in files if re.search(r"\bnan\b|NaN|None", path.read_text(encoding="utf-8"))]


def test_every_report_is_written_in_every_form(reports, out):
    assert sorted(reports) == NAMES
    for report in reports.values():
        wanted = [f"{table.name}.{kind}" for table in report.tables for kind in ("csv", "md", "tex")]
        wanted += [f"{figure.name}.{kind}" for figure in report.figures for kind in ("png", "svg")]
        assert report.tables
        assert [name for name in [*wanted, f"{report.name}.md"] if (out / name).stat().st_size < 30] == []
        record = json.loads((out / f"{report.name}.json").read_text(encoding="utf-8"))
        assert {"model", "seed", "versions", "seconds", "paper"} <= record.keys()
    assert undefined_numbers(out) == []


def test_a_second_call_measures_nothing(reports, demo, out, monkeypatch):
    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(Measurer, "_measured", never)
    monkeypatch.setattr(Report, "save", lambda *_: [])  # drawing takes longest and is tested above
    again = reproduce("globenc", out, model=demo, data=ROWS, progress=False)
    for report in again:
        for new, old in zip(report.tables, reports[report.name].tables, strict=True):
            pd.testing.assert_frame_equal(new.numbers, old.numbers)


def test_table_1_is_what_explain_and_scipy_say(reports, demo):
    found = reports["globenc_table1"].tables[0].numbers
    for name, method in MAPS.items():
        values = []
        for row in ROWS:
            scores = demo.explain(row["text"], method, aggregation="rollout", query=0).values
            saliency = demo.explain(row["text"], "gradient_inputs", target=row["label"]).values
            values.append(spearmanr(scores, saliency).statistic)
        assert found.loc[name, ["mean", "sd"]].tolist() == pytest.approx([np.mean(values), np.std(values)], abs=2e-6)


def test_layers_end_where_table_1_stands_and_begin_alone(reports):
    layers, table = (reports[f"globenc_{name}"].tables[0].numbers for name in ("layers", "table1"))
    for name in MAPS:
        assert layers.loc[("rollout", name, 3), "mean"] == pytest.approx(table.loc[name, "mean"], abs=1e-12)
        assert layers.loc[("rollout", name, 1), "mean"] == layers.loc[("single", name, 1), "mean"]
        one = layers.loc[("rollout", name, 2)]
        half = 2.5758 * one["sd"] / np.sqrt(one["texts"])
        assert [one["low"], one["high"]] == pytest.approx([one["mean"] - half, one["mean"] + half], abs=1e-4)


def test_hta_is_what_explain_and_scipy_say(reports, demo):
    found = reports["globenc_hta"].tables[0].numbers
    by_row, flat = [], []
    for row in ROWS:
        own, other = (demo.explain(row["text"], method).values[1] for method in ("norm_encoder", "hta_inputs"))
        by_row.append(np.mean([spearmanr(a, b).statistic for a, b in zip(own, other, strict=True)]))
        flat.append(pearsonr(own.ravel(), other.ravel()).statistic)
    for measure, values in (("spearman", by_row), ("flat", flat)):
        assert found.loc[("hta_inputs", measure, "N_Enc", 2), "mean"] == pytest.approx(np.mean(values), abs=1e-5)


def test_rows_are_those_of_globenc_over_their_maximum(reports, demo):
    found = reports["globenc_rows"].tables[0].numbers
    rows = demo.explain(ROWS[1]["text"], "globenc", query=0, layers="all").values
    expected = rows / rows.max(-1, keepdims=True)
    measured = found.query("text == 1 and map == 'N_Enc'")["of_largest"].to_numpy().reshape(expected.shape)
    np.testing.assert_allclose(measured, expected, rtol=1e-5)
    assert len(reports["globenc_rows"].figures) == 6  # three texts, a map of rows and a whole one for each


def test_minilm_on_sst2_is_what_the_formulas_say(shared, tmp_path):
    """CONTEXTMIX_LONGHAND=50 does it on so many sentences."""
    folder, data = shared("models/minilm-sst2"), shared("data/sst2_glue/dev.tsv")
    rows = [line.split("\t") for line in data.read_text(encoding="utf-8").splitlines()[1 : 1 + SENTENCES]]
    expected = longhand.table(folder, [text for text, _ in rows], [int(label) for _, label in rows])
    found = only("table1", tmp_path, data, str(folder), limit=SENTENCES).tables[0].numbers
    for name, (mean, sd) in expected.items():
        assert found.loc[name, "mean"] == pytest.approx(mean, abs=1e-3)
        assert found.loc[name, "sd"] == pytest.approx(sd, abs=1e-3)


# Refusals and edges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["table1", "layers"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "there is no data"),
        ([{"text": "good"}, {"text": "bad"}], "have no labels"),
        ([{"text": "good", "label": None}], "have no labels in the column 'label'"),
        ([{"text": "good", "label": "Fine"}, {"text": "bad", "label": "negative"}], r"'Fine' \(1 rows\)"),
        ([{"text": "good", "label": 2}], r"2 \(1 rows\).*0: negative, 1: positive"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_any_work(name, data, message, demo, tmp_path):
    with pytest.raises(BadInput, match=message):
        only(name, tmp_path, data, demo)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["hta", "rows"])
def test_maps_need_texts(name, demo, tmp_path):
    with pytest.raises(BadInput, match="there is no data"):
        only(name, tmp_path, None, demo)


@pytest.mark.parametrize(("head", "message"), [("Model", "no score per class"), ("ForMaskedLM", "classification head")])
def test_a_model_without_classes_is_refused(head, message, tmp_path):
    model = cm.load(build("bert", head), word_pieces())
    data = [{"text": "a film", "label": "LABEL_0"}, {"text": "good", "label": 1}]
    with pytest.raises(UnsupportedModel, match=message):
        only("table1", tmp_path, data, model)


def test_an_empty_class_and_a_wrong_order_are_said(demo, tmp_path):
    report = only("table1", tmp_path / "good", [row for row in ROWS if row["label"]], demo)
    assert "No text has the label 'negative'" in said(report)
    turned = [{"text": row["text"], "label": 1 - row["label"]} for row in ROWS]
    report = only("table1", tmp_path / "turned", turned, demo)
    assert "in a different order than the labels" in said(report)


def test_maps_that_a_run_keeps_are_those_of_explain(reports, demo, out):
    """Texts of one length run together, and their maps are cut from one tensor."""
    run = cm.open_run(out / "runs" / "hta")
    lengths = [len(run.map(number, "norm_encoder").tokens) for number in range(len(ROWS))]
    assert len(set(lengths)) < len(lengths)
    for number, row in enumerate(ROWS):
        expected = demo.explain(row["text"], "norm_encoder").values
        np.testing.assert_allclose(run.map(number, "norm_encoder").values, expected, rtol=1e-4, atol=1e-5)


def test_a_limit_on_rows_in_memory_is_what_the_run_counts(reports, out):
    run = cm.open_run(out / "runs" / "rows")
    assert (run.total, len(run), run.finished) == (3, 3, True)


def test_rows_that_fail_are_counted(demo, tmp_path):
    report = only("table1", tmp_path, [*ROWS, {"text": "", "label": 1}, {"text": "fine", "label": None}], demo)
    assert "2 of 14 rows are left out" in said(report)
    assert "12 texts" in said(report)


def test_one_text_has_no_interval_and_no_test(demo, tmp_path):
    report = only("table1", tmp_path, ROWS[:1], demo)
    assert "No interval: 1 example: at least 10 are needed" in said(report)
    assert "0 of 7 neighbouring pairs hold here" in said(report)
    layers = only("layers", tmp_path, ROWS[:1], demo)
    assert "No bands: 1 example" in said(layers)
    assert "1 example: at least 6 are needed" in said(layers)
    assert undefined_numbers(tmp_path) == []


def test_constant_scores_are_counted_and_left_out_of_the_order(tmp_path):
    model = build("bert", "ForSequenceClassification", id2label={0: "bad", 1: "good"})
    for layer in model.bert.encoder.layer:  # attention moves nothing into the stream: N is zero everywhere
        layer.attention.output.dense.weight.data.zero_()
    data = [{"text": text, "label": label} for texts, label in ((GOOD, "good"), (BAD, "bad")) for text in texts]
    report = only("table1", tmp_path, data, cm.load(model, word_pieces()))
    assert "N has no correlation on 12 of 12 texts: constant scores." in said(report)
    numbers = report.tables[0].numbers
    assert numbers.loc["N", "texts"] == 0
    assert numbers.drop("N")["texts"].eq(12).all()
    assert report.tables[2].numbers["neighbours"].le(6).all()
    layers = only("layers", tmp_path, data, cm.load(model, word_pieces()))
    assert "N (rolled out, layer 2) has no correlation on 12 texts: constant scores." in said(layers)
    assert undefined_numbers(tmp_path) == []


# Outliers ------------------------------------------------------------------------------------------------------------


def planted():
    """Layer 1: three outliers of both norms, opposite; one more of the first norm."""
    model = build("bert", "Model", hidden_size=128)
    first, second = (
        model.encoder.layer[0].get_submodule(p).weight for p in ("attention.output.LayerNorm", "output.LayerNorm")
    )
    with torch.no_grad():
        for weights in (first, second):
            weights.copy_(1 + 0.01 * torch.sin(torch.arange(128.0)))
        first[:4] = torch.tensor([3.0, 3.2, 3.4, 3.1])
        second[:3] = torch.tensor([-2.0, -2.2, -2.5])
    return model, first.detach().double().numpy(), second.detach().double().numpy()


def test_outliers_are_found_and_correlated(tmp_path):
    model, first, second = planted()
    report = only("outliers", tmp_path, None, cm.load(model, word_pieces()))
    numbers = report.tables[0].numbers
    for name, dimensions in (("union", slice(4)), ("intersection", slice(3)), ("all", slice(None))):
        expected = np.corrcoef(first[dimensions], second[dimensions])[0, 1]
        assert numbers.loc[(1, name), "pearson"] == pytest.approx(expected, abs=1e-6)
        assert numbers.loc[(1, name), "count"] == len(first[dimensions])
    assert numbers.loc[(1, "intersection"), "pearson"] < -0.9
    assert "fewer than 3 dimensions" in said(report)  # layer 2 has none
    assert undefined_numbers(tmp_path) == []


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_norms_before_the_sublayers_are_compared_and_said(family, tmp_path):
    head = "Model" if family == "gpt2" else "ForCausalLM"
    report = only("outliers", tmp_path, None, cm.load(build(family, head), word_pieces()))
    assert "these are pre-norm blocks" in said(report)


@pytest.mark.parametrize(("family", "count"), [("phi", 1), ("gemma2", 4)])
def test_blocks_without_two_norms_are_refused(family, count, tmp_path):
    with pytest.raises(UnsupportedModel, match=f"has {count} norms"):
        only("outliers", tmp_path, None, cm.load(build(family, "ForCausalLM"), word_pieces()))


def test_dimensions_are_beyond_three_deviations():
    weights = np.zeros(100)
    weights[0], other = 1.0, np.roll(np.eye(100)[0], 1)
    found = globenc_outliers.dimensions(weights, other)
    assert [int(found[name].sum()) for name in ("union", "intersection", "all")] == [2, 0, 100]
