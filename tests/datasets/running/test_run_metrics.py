"""Metrics as columns of a run: the numbers that one gets by hand, and reasons where there are none."""

import json

import numpy as np
import pytest
from tests.tracing.tiny import build, one_thread, word_pieces

import contextmix as cm
from contextmix.datasets.running.filling import Filler
from contextmix.datasets.running.work import Work
from contextmix.errors import BadInput, BadOption, Interrupted, OtherRun, UnknownName
from contextmix.models.predictor import _Predictor, predictor, removable
from contextmix.plugins.contracts import Scored
from contextmix.plugins.scoring import score
from contextmix.tracing.runs.randomise import randomised

TEXTS = [
    "a deep and meaningful film .",
    "the film was unreally bad !",
    "good",
    "very good and very deep films was the film .",
    "a bad film",
    "the good was bad and the bad was good .",
]
ROWS = [{"text": text, "why": [int(word in ("good", "bad")) for word in text.split()]} for text in TEXTS]
ROWS[4]["why"] = None
METHODS = ["globenc", "occlusion", "random"]
METRICS = ["aopc", "sufficiency", "spearman", "kendall", "token_f1", "auprc"]


@pytest.fixture(scope="module")
def model():
    with one_thread():
        tokenizer = word_pieces()
        tokenizer.mask_token = "[MASK]"
        yield cm.load(build("bert", "ForSequenceClassification"), tokenizer)


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    options = {"token_f1": {"top": 2}, "aopc": {"order": "least_first"}}
    return cm.run(ROWS, out, model=model, **asked(metric_options=options))


def asked(**more):
    known = {"methods": METHODS, "metrics": METRICS, "rationale_field": "why", "progress": False}
    return {**known, "reference": "gradient_inputs", "removal": "mask", **more}


def rows_of(model, text: str) -> dict[str, np.ndarray]:
    """The scores as the table keeps them."""
    query = {"query": "[CLS]"}
    every = {name: model.explain(text, name, **(query if name == "globenc" else {})) for name in METHODS}
    every["gradient_inputs"] = model.explain(text, "gradient_inputs")
    return {name: one.values.astype(np.float32).astype(float) for name, one in every.items()}


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_columns_hold_what_the_metrics_say_of_the_scores_of_explain(model, found, number: int):
    text = TEXTS[number]
    (inputs,) = model.encode(text)
    may_go = removable(inputs.tokens)
    predict, scores = predictor(model, inputs), rows_of(model, text)
    why = ROWS[number]["why"]
    marks = np.array([False, *(bool(why and why[word]) for word in _words(inputs.tokens)), False])
    stored = found.to_pandas().loc[number]
    notes = json.loads(stored["notes"]).get("metrics", {})
    for name in METHODS:
        sizes = scores[name] if name == "globenc" else np.abs(scores[name])  # the reference has no signs
        wanted = {
            "aopc": score("aopc", scores[name], predict, may_go, order="least_first"),
            "sufficiency": score("sufficiency", scores[name], predict, may_go),
            "spearman": score("spearman", sizes, scores["gradient_inputs"]),
            "kendall": score("kendall", sizes, scores["gradient_inputs"]),
            "token_f1": score("token_f1", scores[name][may_go], marks[may_go], top=2),
            "auprc": score("auprc", scores[name][may_go], marks[may_go]),
        }
        for metric, said in wanted.items():
            column = f"{metric}:{name}"
            if said.value is None:
                assert np.isnan(stored[column])
                assert notes[column]["reason"] == ("no rationale" if why is None else said.reason)
            else:
                assert stored[column] == pytest.approx(said.value, abs=2e-6)
                assert notes.get(column, {}).get("curve", {}) == pytest.approx(dict(said.curve), abs=3e-6)


def _words(tokens) -> list[int]:
    """The word between blanks that each piece but the special ones belongs to."""
    starts = [span[0] for span in tokens.spans if span is not None]
    text = "".join(" " if not any(s <= i < e for s, e in filter(None, tokens.spans)) else "x" for i in range(99))
    return [text[:start].count(" ") for start in starts]


def test_a_text_without_a_rationale_is_no_failure(found):
    assert found.failures().empty
    said = found.outcomes()["token_f1", "globenc"][4]
    assert (said.value, said.reason) == (None, "no rationale")


def test_the_reference_is_measured_too_and_its_own_reference(found):
    assert found.settings.methods == (*METHODS, "gradient_inputs")
    values = [one.value for one in found.outcomes()["spearman", "gradient_inputs"] if one.value is not None]
    assert values == pytest.approx([1.0] * len(values))


def test_the_manifest_says_how_to_read_the_columns(found):
    assert found.manifest["metrics"]["aopc"]["better"] == "lower"  # least important first
    assert found.manifest["settings"]["metrics"]["token_f1"] == {"top": 2}
    assert cm.open_run(found.folder.path).settings == found.settings


def test_random_weights_explain_the_same_class(model, tmp_path):
    rows = [{"text": TEXTS[0]}, {"text": TEXTS[3]}]
    found = cm.run(
        rows, tmp_path / "r", model=model, methods=["globenc", "occlusion"], metrics="randomised-weights", seed=3,
        progress=False,
    )  # fmt: skip
    fresh = cm.load(randomised(model.model, model.anatomy(), seed=3), model.tokenizer)
    for number, row in enumerate(rows):
        said = model.explain(row["text"], "occlusion").provenance.notes["target"]
        theirs = {
            "globenc": fresh.explain(row["text"], "globenc", query=0).values,
            "occlusion": fresh.explain(row["text"], "occlusion", target=said).values,
        }
        for name, other in theirs.items():
            wanted = score("randomised_weights", rows_of(model, row["text"])[name], other.astype(np.float32))
            assert found.outcomes()["randomised_weights", name][number].value == pytest.approx(wanted.value)


def test_random_weights_for_the_first_rows_only_and_a_refusal_is_no_failure(model, tmp_path, monkeypatch):
    rows = [{"text": text} for text in TEXTS[:3]]
    asked = {"model": model, "methods": "occlusion", "metrics": ["aopc", "randomised_weights"], "progress": False}
    every = cm.run(rows, tmp_path / "every", **asked).outcomes()
    found = cm.run(rows, tmp_path / "first", **asked, randomised_rows=1).outcomes()
    name = ("randomised_weights", "occlusion")
    assert found["aopc", "occlusion"] == every["aopc", "occlusion"]
    assert found[name] == [every[name][0], *[Scored(None, "not among the rows for random weights")] * 2]
    fill = Filler.fill

    def refusing(self, drafts):
        if "random weights" in self.model.origin.model:
            raise BadInput("It overflows.")
        return fill(self, drafts)

    monkeypatch.setattr(Filler, "fill", refusing)
    refused = cm.run(rows, tmp_path / "refused", **asked)
    assert refused.failures().empty
    assert refused.outcomes()[name] == [Scored(None, "It overflows.")] * 3
    with pytest.raises(BadOption, match="randomised_rows=2"):
        cm.run(rows, tmp_path / "none", model=model, metrics="aopc", randomised_rows=2)


def test_the_model_is_asked_for_all_variants_of_a_text_at_once(model, tmp_path, monkeypatch):
    asked, scores = [], _Predictor._scores
    monkeypatch.setattr(_Predictor, "_scores", lambda self, kept: asked.append(kept) or scores(self, kept))
    names = ["aopc", "sufficiency", "deletion_area", "insertion_area", "blank_out"]
    cm.run([{"text": TEXTS[3]}], tmp_path / "r", model=model, methods=METHODS, metrics=names, progress=False)
    _, kept = asked  # a run tries its first text before it begins
    assert len(kept) > 20
    assert len(kept.unique(dim=0)) == len(kept)


def test_a_run_that_was_stopped_gives_the_same(model, found, tmp_path, monkeypatch):
    options = {"token_f1": {"top": 2}, "aopc": {"order": "least_first"}}
    finish, out = Work._finish, tmp_path / "out"

    def stopping(self, number, prepared, report, stopped):
        calls = iter([False, False, True])
        finish(self, number, prepared, report, lambda: next(calls, True))

    monkeypatch.setattr(Work, "_finish", stopping)
    with pytest.raises(Interrupted):
        cm.run(ROWS, out, model=model, **asked(metric_options=options))
    monkeypatch.undo()
    again = cm.run(ROWS, out, model=model, **asked(metric_options=options))
    columns = [*again.settings.metric_columns, "notes", "globenc"]
    assert again.dataset.to_table(columns=columns).equals(found.dataset.to_table(columns=columns))
    with pytest.raises(OtherRun, match="removal"):
        cm.run(ROWS, out, model=model, **asked(metric_options=options, removal="delete"))


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"layers": "all"}, BadOption, "one number per token"),
        ({"words": True}, BadOption, "one number per token"),
        ({"target": "all"}, BadOption, "one number per token"),
        ({"options": {"globenc": {}}, "methods": ["attention"], "metrics": ["aopc"]}, BadOption, "globenc"),
        ({"rationale_field": None}, BadOption, "what people marked"),
        ({"metrics": ["aopc", "aopc"]}, BadOption, "once"),
        ({"metrics": ["aopk"]}, UnknownName, "aopc"),
        ({"metric_options": {"spearman": {"top": 1}}}, UnknownName, "top"),
        ({"metric_options": {"pearson": {}}}, BadOption, "pearson"),
        ({"metric_options": {"aopc": {"order": "any"}}}, BadOption, "order"),
        ({"removal": "pad", "metrics": ["aopc"]}, None, ""),
    ],
)
def test_what_makes_no_sense_is_told_before_the_work(model, tmp_path, more, error, said):
    if error is None:
        cm.run(ROWS, tmp_path / "r", model=model, **asked(**more))
        return
    with pytest.raises(error, match=said):
        cm.run(ROWS, tmp_path / "r", model=model, **asked(**more))
    assert not (tmp_path / "r" / "shards").exists()


def test_a_model_without_a_mask_is_told_what_else_there_is(tmp_path):
    bare = cm.load(build("bert", "ForSequenceClassification"), word_pieces())
    with pytest.raises(BadOption, match="delete"):
        cm.run(ROWS, tmp_path / "r", model=bare, **asked(metrics=["aopc"]))


def test_labels_that_the_model_does_not_have(model, tmp_path):
    rows = [{"text": text, "label": "joyful"} for text in TEXTS]
    with pytest.raises((BadInput, UnknownName), match="joyful"):
        cm.run(
            rows, tmp_path / "r", model=model, methods="gradient_inputs", metrics="aopc", target="gold", progress=False
        )


def test_a_metric_that_is_defined_by_a_removal_has_its_own_beside_that_of_the_others(model, tmp_path):
    names = ["aopc", "disruption", "recovery"]
    found = cm.run(
        [{"text": TEXTS[3]}], tmp_path / "r", model=model, methods=METHODS, metrics=names, removal="masked_keys",
        progress=False,
    )  # fmt: skip
    (inputs,) = model.encode(TEXTS[3])
    may_go, own = removable(inputs.tokens), rows_of(model, TEXTS[3])
    for name in METHODS:
        for metric in names:
            removals = {one: predictor(model, inputs, removal=one) for one in ("masked_keys", "zero", "mask")}
            values = {one: score(metric, own[name], predict, may_go).value for one, predict in removals.items()}
            due = "masked_keys" if metric == "aopc" else "zero"
            assert found.outcomes()[metric, name][0].value == pytest.approx(values[due], abs=2e-6)
            assert all(abs(values[due] - values[one]) > 1e-5 for one in removals if one != due)
