"""The method `learned` longhand: weighted maps of heads, without the code that walks down.

There are no numbers of the authors' code to freeze: their maps are attention, and their weights those of other models.
"""

import numpy as np
import pytest
import torch
from tests.tracing.tiny import one_thread

import contextmix as cm
from contextmix.errors import BadFile, BadOption
from contextmix.results.learned import Learned

TEXT = "Once upon a time, there was a little girl. She had a"


@pytest.fixture(scope="module")
def model():
    with one_thread():
        yield cm.load("demo-decoder")


@pytest.fixture(scope="module")
def trace(model):
    return model.trace(TEXT)


def learned(trace, feature, path, seed=0):
    """Weights by chance, for the model of a trace."""
    chance = np.random.default_rng(seed)
    weights = [chance.exponential(size=len(layer.attention)) for layer in trace.layers]
    sizes = [float(layer.block.output_weight.double().norm()) for layer in trace.layers]
    Learned(feature, tuple(weights), tuple(sizes), {"model": "demo-decoder"}).save(path)
    return weights


@pytest.mark.parametrize("feature", ["attention", "norm"])
def test_maps_of_heads_are_weighed_and_added(model, trace, tmp_path, feature):
    path = tmp_path / "w.safetensors"
    weights = learned(trace, feature, path)
    expected = np.zeros(len(trace.tokens))
    for layer, theta in zip(trace.layers, weights, strict=True):
        for head, weight in enumerate(theta):
            for key in range(len(expected)):
                size = float(layer.attention[head, -1, key])
                if feature == "norm":
                    sent = layer.value[head, key].double() @ layer.block.output_weight[head].double()
                    size *= float(sent.norm())
                expected[key] += weight * size
    found = model.explain(TEXT, "learned", weights=str(path))
    np.testing.assert_allclose(found.values, expected, rtol=1e-4)
    assert found.quantity is cm.Quantity.EVIDENCE
    assert found.provenance.notes["weights"] == {"model": "demo-decoder"}


def test_evidence_of_heads_is_what_each_sends_along_the_gradient_of_the_log_odds(model, trace, tmp_path):
    """Of the last block, whose feed-forward part and the denominator of the last norm are held fixed."""
    path = tmp_path / "w.safetensors"
    weights = learned(trace, "evidence", path)
    last = len(weights) - 1
    only = [theta if number == last else np.zeros_like(theta) for number, theta in enumerate(weights)]
    sizes = [float(layer.block.output_weight.double().norm()) for layer in trace.layers]
    Learned("evidence", tuple(only), tuple(sizes)).save(path, overwrite=True)
    layer = trace.layers[-1]
    sent = torch.einsum("hj,hjd,hdm->hjm", layer.attention[:, -1], layer.value, layer.block.output_weight).double()
    after = layer.residual_out[-1].double()
    norm, head = model.model.model.norm, model.model.lm_head.weight.double()
    scale = float(after.pow(2).mean().add(norm.variance_epsilon).rsqrt())
    scores = (after * scale * norm.weight.double()) @ head.T
    said = int(scores.argmax())
    others = scores.clone()
    others[said] = -torch.inf
    u = ((head[said] - others.softmax(-1) @ head) * norm.weight.double() * scale).detach()
    expected = np.zeros(len(trace.tokens))
    for number, theta in enumerate(weights[last]):
        expected += theta * (sent[number] @ u).clamp(min=0).numpy()
    found = model.explain(TEXT, "learned", weights=str(path))
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=1e-5)


def test_without_weights_every_head_counts_alike_and_it_says_so(model):
    """Positive parts of heads are at least the positive part of their sum."""
    found, whole = model.explain(TEXT, "learned"), model.explain(TEXT, "evidence")
    assert found.provenance.notes["weights"] == "none learned: all heads alike"
    assert (found.values >= whole.values - 1e-5).all()


def test_rows_of_an_answer_are_those_of_its_steps(model, trace, tmp_path):
    path = str(tmp_path / "w.safetensors")
    learned(trace, "evidence", path)
    rows = model.explain_generation(TEXT, "learned", max_new_tokens=3, weights=path)
    for row in range(3):
        said = TEXT + "".join(rows.query_tokens.pieces[:row])
        alone = model.explain(said, "learned", weights=path)
        np.testing.assert_allclose(rows.values[row, : len(alone.tokens)], alone.values, rtol=1e-3, atol=1e-5)


def test_files_and_models_that_do_not_fit(model, trace, tmp_path):
    path = str(tmp_path / "w.safetensors")
    learned(trace, "evidence", path)
    with pytest.raises(BadOption, match="learned on 'demo-decoder'"):
        cm.load("demo-answers").explain(TEXT, "learned", weights=path)
    with pytest.raises(BadFile, match="holds no weights"):
        model.explain(TEXT, "learned", weights=str(tmp_path / "no.safetensors"))
