"""The three experiments of Value Zeroing on the demo model, with pairs that are written here."""

import copy
import json

import numpy as np
import pytest
from tests.experiments.pairs import VERBS, determiners, write

import contextmix as cm
from contextmix.errors import BadInput, UnsupportedModel
from contextmix.evidence import estimates
from contextmix.evidence.cues import CHANCE, ROLLED, SINGLE
from contextmix.evidence.reproduce import reproduce
from contextmix.experiments import value_zeroing_probing
from contextmix.models.predictor import predictor, removable

DNA, RPSV = "determiner_noun_agreement_2", "regular_plural_subject_verb_agreement_1"
TEXTS = [
    "a deep and meaningful film .",
    "the plot is dull , but her face shines .",
    "every line is warm and true , the rest is not .",
    "the film is bad , but every face is warm .",
    "good",
]


@pytest.fixture(scope="module")
def model():
    return cm.load("demo")


@pytest.fixture(scope="module")
def asked(model):
    return {"model": model, "progress": False}


def numbers(report, name):
    return next(table.numbers for table in report.tables if table.name == f"value_zeroing_{name}").sort_index()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("pairs"), **{DNA: determiners(188), RPSV: VERBS})


@pytest.fixture(scope="module")
def reports(folder, out, asked):
    """Both experiments on pairs, and the third, which does not fit them; few draws, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimates, "RESAMPLES", 99)
        patch.setattr(value_zeroing_probing, "SEEDS", 1)
        found = reproduce("value_zeroing", out, data=folder, **asked)
    return {report.name.removeprefix("value_zeroing_"): report for report in found}


def test_cues_have_every_method_layer_and_measure_with_intervals(reports):
    for name in ("full", "masked"):
        layers = numbers(reports["cues"], f"cues_{name}_layers")
        assert len(layers) == 3 * (3 * len([*SINGLE, *ROLLED]) + 1)
        assert layers["count"].eq(192).all()
        assert (layers["low"] <= layers["mean"]).all()
        assert (layers["mean"] <= layers["high"]).all()
    assert reports["cues"].record["masked"] == {"used": 192, "dropped": {}}


def test_the_paradigms_make_up_the_whole(reports):
    layers = numbers(reports["cues"], "cues_full_layers")["mean"]["dot_product"]["alti"].mean()
    own = numbers(reports["cues"], "cues_full_paradigms").loc["alti"]
    assert set(own.index) == {DNA, RPSV}
    assert (own["mean"] * own["count"]).sum() / own["count"].sum() == pytest.approx(layers)


def test_value_zeroing_is_tested_against_the_other_methods_and_chance(reports):
    tests = numbers(reports["cues"], "cues_masked_tests")
    means = numbers(reports["cues"], "cues_masked_layers")["mean"]["dot_product"].groupby("method").mean()
    own = tests.loc[("dot_product", "value_zeroing")]
    assert set(own.index) == {*SINGLE[1:], CHANCE}
    for method, difference in own["difference"].items():
        assert difference == pytest.approx(means["value_zeroing"] - means[method])
    last = numbers(reports["cues"], "cues_masked_layers").loc["dot_product"]["mean"].xs(2, level="layer")
    for method, difference in tests.loc[("dot_product", "value_zeroing_rollout")]["difference"].drop(CHANCE).items():
        assert difference == pytest.approx(last["value_zeroing_rollout"] - last[method])
    assert (tests["p_holm"] >= tests["p"]).all()


def test_number_is_not_in_a_masked_embedding_and_shuffled_labels_are_not_read(reports):
    codes = numbers(reports["probing"], "probing")
    assert codes.loc[("number", -1), "compression"] < 1  # the mask and its place
    assert codes.loc[("number", 2), "compression"] > 1.05  # 192 pairs of a model that learnt sentiment
    assert codes.loc["control"]["compression"].max() < 1
    assert codes.loc[("number", 2), "bits_per_label"] == pytest.approx(1 / codes.loc[("number", 2), "compression"])
    assert codes.loc[("number", 2), "kbit"] * 1024 == pytest.approx(192 * codes.loc[("number", 2), "bits_per_label"])


def test_files_are_written_and_an_experiment_that_does_not_fit_says_so(reports, out):
    names = {path.name for path in out.iterdir()}
    assert {"value_zeroing_cues.md", "value_zeroing_cues_masked.png", "value_zeroing_probing.svg"} <= names
    assert json.loads((out / "value_zeroing_probing.json").read_text())["used"] == 192
    (said,) = reports["faithfulness"].summary
    assert said.startswith("Not done. Blanking out asks what a classifier makes of texts")
    assert "value_zeroing_faithfulness.md" not in names
    for report in reports.values():
        assert "nan" not in report.text()


def test_an_experiment_that_was_named_is_refused(folder, tmp_path, asked):
    with pytest.raises(BadInput, match="--only faithfulness"):
        reproduce("value_zeroing", tmp_path, data=folder, only=["faithfulness"], **asked)
    with pytest.raises(BadInput, match="no folder of BLiMP"):
        reproduce("value_zeroing", tmp_path, data=tmp_path, only=["cues"], **asked)


def test_too_few_pairs_are_no_reason_for_nan(tmp_path, asked):
    folder = write(tmp_path / "pairs", **{RPSV: VERBS})
    with pytest.raises(BadInput, match="4 examples are too few"):
        reproduce("value_zeroing", tmp_path / "out", data=folder, only=["probing"], **asked)
    (report,) = reproduce("value_zeroing", tmp_path / "out", data=folder, only=["cues"], **asked)
    layers = numbers(report, "cues_full_layers")
    assert layers["low"].isna().all()
    assert layers["reason"].eq("4 examples: at least 10 are needed for an interval").all()
    assert any("no intervals: 4 examples" in said for said in report.summary)
    assert any("was not tested: 4 examples" in said for said in report.summary)
    assert "nan" not in report.text()


def test_without_a_mask_token_only_the_full_input_is_measured(model, tmp_path):
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.mask_token = None
    bare, folder = cm.load(model.model, tokenizer), write(tmp_path / "pairs", **{RPSV: VERBS})
    (report,) = reproduce("value_zeroing", tmp_path / "out", model=bare, data=folder, only=["cues"], progress=False)
    assert "Masked input: not measured, for the tokenizer has no mask token." in report.summary
    assert len(report.figures) == 1
    with pytest.raises(UnsupportedModel, match="no mask token"):
        reproduce("value_zeroing", tmp_path / "out", model=bare, data=folder, only=["probing"], progress=False)


def test_faithfulness_is_the_correlation_of_ranks_with_drops(model, tmp_path, asked):
    data = [{"text": text} for text in (*TEXTS, "  ")]
    (report,) = reproduce("value_zeroing", tmp_path, data=data, only=["faithfulness"], **asked)
    found = numbers(report, "faithfulness")
    assert set(found.index) == set(ROLLED)
    for method in ROLLED:
        values = [by_loops(model, text, method) for text in TEXTS[:-1]]
        assert found.loc[method, "mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert found.loc[method, "undefined"] == 1  # one token has no order
    assert report.record["failed"] == {"empty_text": 1}
    assert report.record["removal"] == "mask"
    assert any("was not tested: 4 examples" in said for said in report.summary)


def by_loops(model, text, method):
    """Spearman's ρ without ties: 1 − 6 Σ d² / (n (n² − 1)), the drops one by one."""
    (inputs,) = model.encode(text)
    places = np.flatnonzero(removable(inputs.tokens))
    predict = predictor(model, inputs)
    whole = predict(np.ones((1, inputs.length), dtype=bool))[0]
    drops = []
    for place in places:
        kept = np.ones((1, inputs.length), dtype=bool)
        kept[0, place] = False
        drops.append(whole.max() - predict(kept)[0, whole.argmax()])
    scores = model.explain(text, method, query=0).values[places]
    ranks = [np.argsort(np.argsort(values)) for values in (scores, drops)]
    count = len(places)
    return 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (count * (count**2 - 1))
