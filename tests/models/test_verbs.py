"""The verbs: load, trace, measure, aggregate, explain, compare; and what they refuse."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from tests.tracing.tiny import ROUNDOFF, build, one_thread, token_ids, word_pieces
from torch import nn

import contextmix as cm
from contextmix.errors import (
    AmbiguousToken,
    BadInput,
    BadOption,
    ModelNotFound,
    NotFinite,
    UnknownName,
    UnknownPosition,
    UnknownToken,
    UnsupportedModel,
    WrongQuantity,
    WrongShape,
)
from contextmix.models import loaded_model
from contextmix.plugins.plan import METHODS
from contextmix.results.comparison import Comparison

FILM = "a deep and meaningful film ."  # ten tokens with the marks, eight words with them
LAYERS = 3


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def model() -> cm.TracedModel:
    """A tiny classifier of three layers with a tokenizer."""
    return cm.load(build("bert", "ForSequenceClassification", num_hidden_layers=LAYERS), word_pieces())


@pytest.fixture(scope="module")
def trace(model: cm.TracedModel) -> cm.Trace:
    return model.trace(FILM)


@pytest.fixture(scope="module")
def folder(model: cm.TracedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, saved."""
    place = tmp_path_factory.mktemp("models") / "tiny-classifier"
    model.model.save_pretrained(place)
    model.tokenizer.save_pretrained(place)
    return place


def relative(found: cm.TokenMap, true: cm.TokenMap) -> float:
    return float(abs(found.values - true.values).max() / abs(true.values).max())


# explain -------------------------------------------------------------------------------------------------------------


def test_a_batch_a_padded_batch_and_a_single_text_give_the_same_numbers(model: cm.TracedModel):
    texts = ["a deep film", FILM, "good", "the bad film", "unreal films"]
    alone = [model.explain(text) for text in texts]
    together = model.explain(texts)
    padded = model.explain(model.tokenizer(texts, padding=True, return_tensors="pt"))
    for one, two, three in zip(alone, together, padded, strict=True):
        assert relative(two, one) <= ROUNDOFF
        assert relative(three, one) <= ROUNDOFF
        assert one.tokens.pieces == two.tokens.pieces == three.tokens.pieces


@pytest.mark.parametrize(
    ("asked", "dims", "shape"),
    [
        ({}, ("query", "key"), (10, 10)),
        ({"query": "film"}, ("key",), (10,)),
        ({"layers": "all"}, ("layer", "query", "key"), (3, 10, 10)),
        ({"layers": "all", "query": -1}, ("layer", "key"), (3, 10)),
        ({"layers": [0, -1]}, ("layer", "query", "key"), (2, 10, 10)),
        ({"layers": [1], "query": 0}, ("layer", "key"), (1, 10)),
        ({"method": "norm_encoder"}, ("layer", "query", "key"), (3, 10, 10)),
        ({"method": "norm_encoder", "query": 0}, ("layer", "key"), (3, 10)),
        ({"method": "norm_encoder", "layers": [2]}, ("layer", "query", "key"), (1, 10, 10)),
        ({"method": "norm_encoder", "aggregation": "mean"}, ("query", "key"), (10, 10)),
        ({"method": "attention", "heads": "each"}, ("layer", "head", "query", "key"), (3, 2, 10, 10)),
        ({"method": "attention", "heads": "each", "query": 3, "layers": [0]}, ("layer", "head", "key"), (1, 2, 10)),
    ],
)
def test_the_axes_of_a_result_are_those_asked_for(
    model: cm.TracedModel, asked: dict[str, Any], dims: tuple[str, ...], shape: tuple[int, ...]
):
    found = model.explain(FILM, **asked)
    assert (found.dims, found.shape) == (dims, shape)
    words = found.words()
    assert words.dims == dims
    assert words.shape == tuple(8 if length == 10 else length for length in shape)
    assert words.tokens.pieces[4] == "meaningful"


@pytest.mark.parametrize("method", ["globenc", "attention_rollout"])
def test_a_row_or_a_layer_is_that_of_the_whole_result(model: cm.TracedModel, method: str):
    everything = model.explain(FILM, method, layers="all")
    whole, row = model.explain(FILM, method), model.explain(FILM, method, query="film")
    position = whole.tokens.position("film")
    np.testing.assert_allclose(row.values, whole.values[position], rtol=1e-12)
    np.testing.assert_array_equal(whole.values, everything.values[-1])
    np.testing.assert_array_equal(model.explain(FILM, method, layers=[0, -1]).values, everything.values[[0, 2]])
    assert model.explain(FILM, method, layers=[-1, 0]).layers == (2, 0)
    assert row.selected == {"query": position, "layer": 2}


@pytest.mark.parametrize(
    ("asked", "method", "aggregation", "options"),
    [
        ({"method": "globenc"}, "norm_encoder", "rollout", {}),
        ({"method": "globenc", "normalise": True}, "norm_encoder", "rollout", {"normalise": True}),
        ({"method": "attention_rollout"}, "attention_fixed_residual", "rollout", {}),
        ({"method": "attention", "aggregation": "rollout"}, "attention", "rollout", {}),
        ({"method": "norm-encoder", "aggregation": "mean"}, "norm_encoder", "mean", {}),
        ({"method": "norm", "aggregation": "last"}, "norm", "last", {}),
    ],
)
def test_measure_then_aggregate_is_explain(
    model: cm.TracedModel, trace: cm.Trace, asked: Any, method: str, aggregation: str, options: Any
):
    explained = model.explain(FILM, layers="all", **asked)
    step = cm.aggregate(cm.measure(trace, method), aggregation, **options)
    np.testing.assert_allclose(explained.values, step.values, rtol=1e-6)
    row = cm.aggregate(cm.measure(trace, method), aggregation, query="film", **options)
    np.testing.assert_allclose(row.values, step.values[-1, step.tokens.position("film")], rtol=1e-6)
    assert row.selected == model.explain(FILM, query="film", **asked).selected
    assert step.provenance.title == f"{method} + {aggregation}"
    assert explained.provenance.title in (f"{asked['method']} ({step.provenance.title})", step.provenance.title)
    assert explained.provenance.aggregation_options == step.provenance.aggregation_options == options


def test_what_streams_is_what_a_kept_trace_gives(model: cm.TracedModel, trace: cm.Trace):
    for method in ("norm_encoder", "attention_residual", "norm"):
        np.testing.assert_array_equal(model.explain(FILM, method).values, cm.measure(trace, method).values)


def test_normalising_changes_the_numbers(model: cm.TracedModel):
    plain, normalised = model.explain(FILM), model.explain(FILM, normalise=True)
    assert relative(normalised, plain) > 0.1
    np.testing.assert_allclose(normalised.values.sum(-1), 1, rtol=1e-12)


def test_a_result_says_how_it_was_made(model: cm.TracedModel, trace: cm.Trace):
    made = model.explain(FILM, normalise=True).provenance
    assert (made.method, made.aggregation, made.aggregation_options) == ("norm_encoder", "rollout", {"normalise": True})
    assert made.notes["recipe"] == "globenc"
    assert made.versions["torch"] == torch.__version__
    assert made.checks["layers"] == LAYERS
    assert 0 < made.checks["conservation"] < ROUNDOFF
    assert made.notes["prediction"] == dict(trace.prediction)


def test_the_prediction_is_the_one_of_the_model(model: cm.TracedModel):
    results = model.explain(["a deep film", "bad film", FILM])
    for result in results:
        with torch.no_grad():
            logits = model.model(**model.tokenizer(result.tokens.text, return_tensors="pt")).logits[0]
        said = result.provenance.notes["prediction"]
        assert said["label"] == f"LABEL_{int(logits.argmax())}"
        assert said["probability"] == pytest.approx(float(logits.softmax(-1).max()), rel=1e-5)


def test_a_model_without_a_classifier_predicts_nothing():
    assert "prediction" not in cm.load(build("bert")).explain({"input_ids": token_ids(4)[0]}).provenance.notes


def test_a_result_survives_saving_and_loading(model: cm.TracedModel, tmp_path: Path):
    for name, result in {
        "one.json": model.explain(FILM, layers="all").words(),
        "two.safetensors": model.explain(FILM, query="film"),
        "three.json": model.explain(FILM, "attention", heads="each"),
    }.items():
        result.save(tmp_path / name)
        found = cm.TokenMap.load(tmp_path / name)
        np.testing.assert_array_equal(found.values, result.values)
        kept = ("dims", "tokens", "query_tokens", "quantity", "provenance", "layers", "selected")
        assert [getattr(found, field) for field in kept] == [getattr(result, field) for field in kept]


# Refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "error", "sentence"),
    [
        ({"method": "globbenc"}, UnknownName, r"no method 'globbenc'\. Did you mean 'globenc'"),
        ({"method": "zzz"}, UnknownName, r"no method 'zzz'\. Known: .*, globenc, "),
        ({"normalize": True}, UnknownName, r"no option of globenc 'normalize'\. Did you mean 'normalise'"),
        (
            {"method": "norm_encoder", "heads": "each"},
            UnknownName,
            "no option of norm_encoder 'heads'",
        ),
        (
            {"method": "attention", "heads": "eahc"},
            BadOption,
            r"heads='eahc' is not allowed; heads is 'mean' or 'each'",
        ),
        ({"normalise": "no"}, BadOption, "normalise='no' is not allowed; normalise is True or False"),
        ({"method": "norm", "aggregation": "rolout"}, UnknownName, r"no aggregation 'rolout'\. Did you mean 'rollout'"),
        ({"aggregation": "mean"}, BadOption, "globenc is norm_encoder with rollout; with mean it would be another"),
        ({"aggregation": "maen"}, UnknownName, "no aggregation 'maen'"),
        ({"layers": [3]}, UnknownPosition, "no layer 3 in this result. It contains layer 0, 1, 2"),
        ({"layers": [-4]}, UnknownPosition, "no layer -4"),
        ({"layers": "first"}, BadOption, "layers='first' is neither 'all' nor a list"),
        ({"layers": []}, BadOption, "neither 'all' nor a list of layer numbers from 0 to 2"),
        ({"layers": ["1"]}, BadOption, "neither 'all' nor a list"),
        ({"layers": 1}, BadOption, "neither 'all' nor a list"),
        ({"layers": [0, 0]}, WrongShape, "must be different numbers"),
        ({"query": "flim"}, UnknownToken, r"no token 'flim'\. Did you mean 'film'"),
        ({"query": 10}, UnknownToken, "no token at position 10: the input has 10 tokens"),
        ({"query": -11}, UnknownToken, "no token at position -11"),
        ({"batch_size": 0}, BadOption, "batch_size=0 would run nothing"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    model: cm.TracedModel, asked: dict[str, Any], error: type[Exception], sentence: str
):
    with pytest.raises(error, match=sentence):
        model.explain(FILM, **asked)


def test_a_recipe_may_be_given_its_own_aggregation(model: cm.TracedModel):
    assert relative(model.explain(FILM, "globenc", aggregation="rollout"), model.explain(FILM)) == 0


def test_a_method_and_a_way_across_layers_may_be_asked_for_by_one_name(model: cm.TracedModel):
    found, wanted = model.explain(FILM, "norm+rollout"), model.explain(FILM, "norm", aggregation="rollout")
    np.testing.assert_array_equal(found.values, wanted.values)
    assert (found.provenance.title, found.provenance) == ("norm + rollout", wanted.provenance)
    assert model.compare(FILM, ["norm+rollout", "norm"]).spearman.columns.tolist() == ["norm+rollout", "norm"]


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("globenc+flow", {}, BadOption),
        ("norm+rolout", {}, UnknownName),
        ("norm+rollout", {"aggregation": "flow"}, BadOption),
        ("gradient_inputs+rollout", {}, BadOption),
        ("attention+rollout", {"heads": "each"}, BadOption),
        ("attention+", {}, UnknownName),
    ],
)
def test_one_name_for_both_is_refused_where_the_two_names_are(model: cm.TracedModel, name: str, options, error: type):
    with pytest.raises(error):
        model.explain(FILM, name, **options)


def test_a_token_that_occurs_twice_must_be_asked_for_by_position(model: cm.TracedModel):
    with pytest.raises(AmbiguousToken, match="occurs 2 times, at positions 2, 5"):
        model.explain("a film the good film", query="film")


def test_an_unknown_query_is_refused_before_the_model_runs(model: cm.TracedModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loaded_model, "record", lambda *_: pytest.fail("it ran"))
    with pytest.raises(UnknownToken):
        model.explain([FILM, "good"], query="film")
    with pytest.raises(UnknownName):
        model.explain(FILM, "globbenc")


def test_an_aggregation_refuses_numbers_that_it_cannot_combine(trace: cm.Trace):
    signed = cm.measure(trace, "norm").derive(quantity="signed")
    with pytest.raises(
        WrongQuantity, match="rollout combines distance, gradient, norm, share; norm gives signed numbers"
    ):
        cm.aggregate(signed, "rollout")
    assert cm.aggregate(signed, "mean").quantity == "signed"


def test_an_aggregation_refuses_maps_without_all_its_axes(trace: cm.Trace):
    maps = cm.measure(trace, "norm")
    for wrong in (maps.layer(0), maps.row(0), cm.measure(trace, "attention", heads="each")):
        with pytest.raises(WrongShape, match=r"combines maps with dims \('layer', 'query', 'key'\)"):
            cm.aggregate(wrong, "rollout")


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"normalize": True},
            UnknownName,
            r"no option of the aggregation rollout 'normalize'\. Did you mean 'normalise'",
        ),
        ({"normalise": "yes"}, BadOption, "normalise='yes' is not allowed"),
    ],
)
def test_an_aggregation_refuses_options_that_it_does_not_have(
    trace: cm.Trace, options: Any, error: type[Exception], sentence: str
):
    with pytest.raises(error, match=sentence):
        cm.aggregate(cm.measure(trace, "norm"), "rollout", **options)


def test_measure_refuses_a_recipe_and_lists_mixing_maps(trace: cm.Trace):
    with pytest.raises(UnknownName, match="use explain") as refusal:
        cm.measure(trace, "globenc")
    assert "norm_encoder" in str(refusal.value)
    assert "attention_rollout" not in str(refusal.value)


def test_measure_refuses_what_does_not_exist(trace: cm.Trace):
    with pytest.raises(UnknownName, match=r"no method 'nrom'\. Did you mean 'norm'"):
        cm.measure(trace, "nrom")
    with pytest.raises(UnknownName, match=r"no option of attention 'head'\. Did you mean 'heads'"):
        cm.measure(trace, "attention", head=0)


# mixing_ratio --------------------------------------------------------------------------------------------------------


def test_the_mixing_ratio_of_attention_is_what_goes_to_others(trace: cm.Trace):
    found = cm.mixing_ratio(trace, "attention")
    assert (found.dims, found.shape, found.quantity) == (("layer", "query"), (LAYERS, 10), "share")
    maps = cm.measure(trace, "attention").values
    np.testing.assert_allclose(found.values, 1 - np.diagonal(maps, axis1=1, axis2=2), rtol=1e-6)
    assert found.provenance.notes["of"] == "mixing_ratio"


def test_every_mixing_ratio_lies_between_zero_and_one(trace: cm.Trace):
    defined = [name for name, one in METHODS.items() if getattr(one, "ratio", None)]
    assert {"attention", "norm_residual"} <= set(defined)
    for name in defined:
        assert 0 <= cm.mixing_ratio(trace, name).values.min() <= cm.mixing_ratio(trace, name).values.max() <= 1


def test_a_method_without_a_mixing_ratio_is_refused_with_those_that_have_one(trace: cm.Trace):
    without = [name for name, one in METHODS.items() if not getattr(one, "ratio", None)]
    assert {"globenc", "attention_rollout"} <= set(without)
    for method in without:
        with pytest.raises(UnknownName, match=f"no mixing ratio of the method '{method}'") as refusal:
            cm.mixing_ratio(trace, method)
        assert "norm_residual" in str(refusal.value)


# compare -------------------------------------------------------------------------------------------------------------

NAMES = ["globenc", "attention_rollout", "norm_encoder", "attention"]


def test_a_comparison_holds_each_methods_own_row(model: cm.TracedModel):
    found = model.compare(FILM, NAMES, query="film")
    assert list(found.rows) == NAMES
    for name, row in found.rows.items():
        alone = model.explain(FILM, name, layers=[-1], query="film").layer(-1)
        np.testing.assert_allclose(row.values, alone.values, rtol=1e-6)
    table = found.to_dataframe()
    assert list(table.columns) == NAMES
    assert list(table.index) == list(row.tokens.pieces)


def test_the_rank_correlation_is_scipys(model: cm.TracedModel):
    found = model.compare(FILM, NAMES)
    for one in NAMES:
        for other in NAMES:
            expected = scipy.stats.spearmanr(found.rows[one].values, found.rows[other].values).statistic
            assert found.spearman.loc[one, other] == pytest.approx(expected, abs=1e-12)
    assert abs(found.spearman.to_numpy()[0, 1:]).max() < 0.999  # or the table would say nothing


def test_ties_share_their_mean_rank_and_a_constant_row_ranks_nothing(model: cm.TracedModel):
    rows = dict(model.compare(FILM, NAMES[:2]).rows)
    tied, constant = rows["globenc"].values.round(0), np.ones(10)
    rows = {"tied": rows["globenc"].derive(values=tied), "other": rows["attention_rollout"]}
    rows["constant"] = rows["other"].derive(values=constant)
    found = Comparison(rows).spearman
    expected = scipy.stats.spearmanr(tied, rows["other"].values).statistic
    assert len(set(tied)) < 10
    assert found.loc["tied", "other"] == pytest.approx(expected, abs=1e-12)
    assert found["constant"].isna().all()


@pytest.mark.parametrize("names", [[], ["globenc"], ["globenc", "globenc"], ["norm", "globenc", "norm"]])
def test_a_comparison_needs_different_methods(model: cm.TracedModel, names: list[str]):
    with pytest.raises(BadOption, match="needs at least two different methods"):
        model.compare(FILM, names)


def test_a_comparison_is_of_one_text(model: cm.TracedModel):
    with pytest.raises(BadInput, match="A comparison is of one text; got 2"):
        model.compare([FILM, "good"], NAMES)


def test_a_comparison_runs_the_model_once(model: cm.TracedModel):
    model.explain(FILM)  # which proves, once, that a recorded run is like a plain one
    runs: list[int] = []
    handle = model.model.get_input_embeddings().register_forward_pre_hook(lambda *_: runs.append(1))
    try:
        model.compare(FILM, NAMES)
    finally:
        handle.remove()
    assert len(runs) == 1


# Tables --------------------------------------------------------------------------------------------------------------


def test_the_table_of_methods_is_complete():
    table = cm.methods()
    assert table.index.name == "method"
    assert {"attention", "norm_encoder", "globenc", "attention_rollout"} <= set(table.index)
    assert {"formula", "paper", "quantity", "cost", "requirements"} <= set(table.columns)
    assert table.loc["globenc", "quantity"] == table.loc["norm_encoder", "quantity"] == "norm"
    assert all(isinstance(cell, str) and cell and "<function" not in cell for row in table.to_numpy() for cell in row)


def test_one_map_per_head_is_not_combined_across_layers(model: cm.TracedModel):
    with pytest.raises(BadOption, match="rollout combines one map per layer"):
        model.explain("a film", "norm", aggregation="rollout", heads="each", query=0)


def test_the_table_of_aggregations_is_complete():
    table = cm.aggregations()
    assert table.index.name == "aggregation"
    assert {"rollout", "mean", "last"} <= set(table.index)
    assert table.loc["rollout", "accepts"] == "distance, gradient, norm, share"
    assert all(isinstance(cell, str) and cell for row in table.to_numpy() for cell in row)


# load ----------------------------------------------------------------------------------------------------------------


def test_a_saved_model_gives_the_numbers_of_the_loaded_one(model: cm.TracedModel, folder: Path):
    loaded = cm.load(folder)
    assert loaded.origin.model == str(folder)
    assert type(loaded.model).__name__ == "BertForSequenceClassification"
    assert relative(loaded.explain(FILM), model.explain(FILM)) == 0


def test_a_model_may_be_loaded_in_another_precision(folder: Path):
    assert next(cm.load(folder, dtype="bfloat16").model.parameters()).dtype == torch.bfloat16
    assert next(cm.load(folder, dtype=torch.float64).model.parameters()).dtype == torch.float64
    with pytest.raises(BadOption, match="no data type 'float17'"):
        cm.load(folder, dtype="float17")


def test_the_name_of_a_missing_folder_is_answered_with_its_neighbours(folder: Path):
    with pytest.raises(ModelNotFound, match="There is no model") as refusal:
        cm.load(folder.with_name("tiny-clasifier"))
    assert f"Did you mean {str(folder)!r}?" in str(refusal.value)


def test_the_name_of_the_built_in_model_is_suggested():
    with pytest.raises(ModelNotFound, match=r"There is no model 'dmeo'.* Did you mean 'demo'\?"):
        cm.load("dmeo")


@pytest.mark.parametrize("content", [None, "{}", "no json", '{"model_type": "nonesuch"}', '{"model_type": "bert"}'])
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelNotFound, match=r"The folder .* does not hold a model that transformers can load"):
        cm.load(tmp_path)


@pytest.mark.parametrize("thing", [nn.Linear(2, 2), lambda x: x, 5, None])
def test_what_is_no_transformers_model_is_refused(thing: Any):
    with pytest.raises(UnsupportedModel, match="contextmix reads models of the transformers library; this is a "):
        cm.load(thing)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(bad: float):
    broken = build("bert")
    with torch.no_grad():
        broken.encoder.layer[1].output.dense.weight[3, 4] = bad
    with pytest.raises(NotFinite, match=r"encoder\.layer\.1\.output\.dense\.weight contains NaN or infinity"):
        cm.load(broken)


def test_large_weights_in_half_precision_are_numbers():
    large = build("bert").half()
    with torch.no_grad():
        large.pooler.dense.weight.fill_(60000.0)  # their sum overflows
    assert cm.load(large)


def test_a_model_on_the_meta_device_is_refused():
    with pytest.raises(UnsupportedModel, match="is on the meta device"):
        cm.load(build("bert").to("meta"))


def test_a_model_spread_over_devices_is_refused():
    model = build("bert")
    for place, block in enumerate(model.encoder.layer):
        for module in block.modules():  # as accelerate puts them there
            module._hf_hook = SimpleNamespace(execution_device=f"cuda:{place}", offload=False)
    with pytest.raises(UnsupportedModel, match=r"several devices \(cpu, cuda:0, cuda:1\)"):
        cm.load(model)


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(BadOption, match="cannot be put on the device 'nonsense'"):
        cm.load("demo", device="nonsense")


def test_a_model_given_as_an_object_is_called_by_its_class_or_its_folder(folder: Path):
    assert cm.load(build("bert")).origin.model == "BertModel"
    assert cm.load(cm.load(folder).model).origin.model == str(folder)
    assert "BertModel" in repr(cm.load(build("bert")))


# Importing -----------------------------------------------------------------------------------------------------------

# One process: torch stays, contextmix is imported afresh each time.
ORDERS = """
import sys
def afresh(*lines):
    for name in [name for name in sys.modules if name.split('.')[0] == 'contextmix']:
        del sys.modules[name]
    for line in lines:
        exec(line, space := globals())

import contextmix
assert not {'torch', 'transformers', 'xarray', 'scipy', 'pandas'} & set(sys.modules), 'import contextmix is not free'
assert contextmix.__version__ and 'load' in dir(contextmix)
try:
    contextmix.nonesuch
except AttributeError as reason:
    assert 'nonesuch' in str(reason)
else:
    raise SystemExit('no AttributeError')
for lines in [
    ['import contextmix'],
    ['import contextmix.methods.norm', 'import contextmix'],
    ['import contextmix', 'from contextmix.methods import norm', 'import contextmix.aggregations.mean'],
    ['from contextmix.models.verbs import load', 'import contextmix'],
    ['import contextmix', 'contextmix.load', 'from contextmix.methods.norm import METHOD'],
    ['from contextmix import methods', 'import contextmix.aggregations.rollout', 'contextmix.methods = methods'],
]:
    afresh(*lines)
    assert 'globenc' in contextmix.methods().index, lines
    assert 'rollout' in contextmix.aggregations().index, lines
    assert all(hasattr(contextmix, name) for name in contextmix.__all__), lines
print('all is well')
"""


def test_importing_is_free_and_public_names_stay_themselves_in_every_order():
    done = subprocess.run([sys.executable, "-c", ORDERS], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "all is well"), done.stderr
