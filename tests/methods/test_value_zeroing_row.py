"""Value Zeroing of one row by itself: the row of the whole map, for what one row costs."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.strategies import LAYOUTS, toy_layer
from tests.tracing.tiny import build, in_float64, token_ids

import contextmix as cm
from contextmix.methods import value_zeroing

OPTIONS: list[dict[str, Any]] = [{}, {"heads": [2, 0]}, {"distance": "euclidean", "normalise": False}]
FAMILIES = {"bert": "Model", "albert": "Model", "gpt_neox": "ForCausalLM", "gemma2": "ForCausalLM"}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_row_is_that_of_the_whole_map(layout: str, causal: bool, options: dict[str, Any]):
    layer = toy_layer(layout, n=7, causal=causal)
    whole = value_zeroing.measure(layer, **options).values
    for query in range(7):
        found = value_zeroing.row(layer, query, **options)
        torch.testing.assert_close(found.values, whole[query : query + 1], rtol=0, atol=1e-9)


def test_one_row_sends_as_many_vectors_through_the_first_matrix_as_there_are_tokens():
    layer = toy_layer("post-norm", n=7, n_heads=3)
    one, every = value_zeroing._Zeroed.of_row(layer, None, 4), value_zeroing._Zeroed.of(layer, None)
    assert one.reader is not None
    assert every.reader is not None
    assert one.reader.moves.shape == (7, 1, 7)
    assert every.reader.moves.shape == (7, 3, 7)
    assert len(one.reader.before) == 1


@pytest.mark.parametrize("asked", [{}, {"layers": [1]}, {"layers": [1, 0]}], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_explaining_one_token_measures_its_row_alone(family: str, asked: dict[str, Any], monkeypatch):
    traced = cm.load(in_float64(build(family, FAMILIES[family])))
    ids = {"input_ids": token_ids(9)[0]}
    true = traced.explain(ids, "value_zeroing", **asked).row(5)
    monkeypatch.setattr(value_zeroing._Zeroed, "of", lambda *_: pytest.fail("the whole map was measured"))
    found = traced.explain(ids, "value_zeroing", query=5, **asked)
    for said in ("dims", "layers", "quantity", "selected"):
        assert getattr(found, said) == getattr(true, said)
    np.testing.assert_allclose(found.values, true.values, rtol=0, atol=1e-9)


def test_the_rows_of_a_batch_are_each_their_own():
    """One token, at another place in each text."""
    traced = cm.load("demo")
    texts = ["a film so good", "so good a film"]
    found = traced.explain(texts, "value_zeroing", query="film", batch_size=2)
    for one, text in zip(found, texts, strict=True):
        true = traced.explain(text, "value_zeroing").row("film")
        assert one.selected == true.selected
        np.testing.assert_allclose(one.values, true.values, rtol=0, atol=1e-6)
    assert found[0].selected != found[1].selected


def test_the_aggregation_of_whole_maps_is_asked_as_before():
    traced = cm.load("demo")
    found = traced.explain("a good film", "value_zeroing", aggregation="rollout", query="film")
    true = traced.explain("a good film", "value_zeroing", aggregation="rollout", layers="all").layer(-1).row("film")
    np.testing.assert_allclose(found.values, true.values, rtol=0, atol=1e-9)


def test_reduced_precision_measures_the_error_of_the_row(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)  # or emulated
    traced, ids = cm.load(build("bert")), {"input_ids": token_ids(12)[0]}
    exact = traced.explain(ids, "value_zeroing", query=3).values
    found = traced.explain(ids, "value_zeroing", query=3, precision="bfloat16")
    noted = found.provenance.notes["bfloat16_error"]
    np.testing.assert_allclose(np.abs(found.values - exact).max(axis=1), noted, rtol=0, atol=1e-6)
    assert max(noted) > 0
