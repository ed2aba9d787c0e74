"""Attention flow against what the authors' released codes give for minilm-sst2 (`shared/reference/flow.npz`, whole).

`AF_flow` is the code of Abnar & Zuidema: rows of flows divided by their sums, for every layer. `rawvalue` holds the
flows of the last layer. `GE_scipy_flow` is GlobEnc's code, which rounds capacities to 1e-7 and divides rows.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import contextmix as cm

TEXTS = {"s00": "bad .", "s08": "a movie with a real anarchic flair ."}
MAPS = {"W_FixedRes": "attention_fixed_residual", "N_Enc": "norm_encoder"}

with np.load(Path(__file__).with_name("flow.npz"), allow_pickle=False) as stored:
    FROZEN = {name: stored[name] for name in stored.files}

each_sentence = pytest.mark.parametrize("sentence", TEXTS)


@pytest.fixture(scope="module")
def traces(shared):
    """One run of the model per sentence and precision."""
    load = cache(lambda precision: cm.load(shared("models/minilm-sst2"), dtype=precision))
    return cache(lambda sentence, precision: load(precision).trace(TEXTS[sentence]))


@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("array", MAPS)
@each_sentence
def test_flows_are_those_of_a_floating_point_solver(traces, sentence, array, precision, limit):
    wanted = FROZEN[f"{sentence}.f64.rawvalue_{array}"]
    local = cm.measure(traces(sentence, precision), MAPS[array])
    found = cm.aggregate(local, "flow", rows="flows").values[-1]
    assert np.abs(found - wanted).max() <= limit * wanted.max()
    row = cm.aggregate(local, "flow", query=-1, rows="flows").values
    assert np.abs(row - wanted[-1]).max() <= limit * wanted.max()


@each_sentence
def test_the_float32_model_is_within_a_millionth_on_attention(traces, sentence):
    found = cm.aggregate(cm.measure(traces(sentence, "float32"), MAPS["W_FixedRes"]), "flow", rows="flows").values[-1]
    assert np.abs(found - FROZEN[f"{sentence}.f64.rawvalue_W_FixedRes"]).max() <= 1e-6


@each_sentence
def test_every_layer_is_that_of_abnar_and_zuidemas_code(traces, sentence):
    wanted = FROZEN[f"{sentence}.f64.AF_flow_W_FixedRes"]
    found = cm.aggregate(cm.measure(traces(sentence, "float64"), MAPS["W_FixedRes"]), "flow").values
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-12


@each_sentence
def test_globencs_code_is_its_rounding_away(traces, sentence):
    wanted = FROZEN[f"{sentence}.f64.GE_scipy_flow_W_FixedRes"]
    found = cm.aggregate(cm.measure(traces(sentence, "float64"), MAPS["W_FixedRes"]), "flow").values[-1]
    assert 1e-12 < np.abs(found - wanted).max() <= 1e-6


@each_sentence
def test_the_recipe_goes_from_a_text_to_these_numbers(shared, sentence):
    wanted = FROZEN[f"{sentence}.f64.AF_flow_W_FixedRes"][-1]
    model = cm.load(shared("models/minilm-sst2"), dtype="float64")
    assert np.abs(model.explain(TEXTS[sentence], method="attention_flow").values - wanted).max() <= 1e-12
    row = model.explain(TEXTS[sentence], method="attention_flow", query="[CLS]").values
    assert np.abs(row - wanted[0]).max() <= 1e-12
