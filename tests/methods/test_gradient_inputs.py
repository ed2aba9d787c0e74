"""Gradient ⊙ input (GlobEnc, eq. 17): its length per token, and its sum."""

import numpy as np
import pytest
import torch
from tests.methods.classifiers import (
    TEXT,
    autograd,
    embedded,
    encoded,
    finite_differences,
    function_run,
    linear,
    loaded,
    scores_after,
)
from tests.tracing.tiny import one_thread

from contextmix.errors import BadOption, UnknownName
from contextmix.plugins.plan import METHODS


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def longhand(gradient, inputs, reduce: str) -> list[float]:
    found = []
    for own, vector in zip(gradient.tolist(), inputs.tolist(), strict=True):
        products = [g * x for g, x in zip(own, vector, strict=True)]
        found.append(sum(products) if reduce == "sum" else sum(one**2 for one in products) ** 0.5)
    return found


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("reduce", ["norm", "sum"])
@pytest.mark.parametrize("derivative", [autograd, finite_differences])
def test_each_token_has_the_length_or_the_sum_of_gradient_times_input(derivative, reduce, target):
    model = loaded()
    inputs = embedded(model.model)
    wanted = longhand(derivative(model.model, inputs, target), inputs, reduce)
    found = model.explain(TEXT, method="gradient_inputs", reduce=reduce, target=target)
    np.testing.assert_allclose(found.values, wanted, rtol=1e-7, atol=1e-9)
    assert found.quantity == {"norm": "gradient", "sum": "signed"}[reduce]


def test_the_length_is_the_default_and_the_input_is_the_embedding_after_its_norm():
    model = loaded()
    words = model.model.bert.embeddings.word_embeddings(encoded()["input_ids"])[0].detach()
    found = model.explain(TEXT, method="gradient_inputs", target=0).values
    inputs = embedded(model.model)
    gradient = autograd(model.model, inputs, 0)
    np.testing.assert_allclose(found, longhand(gradient, inputs, "norm"), rtol=1e-10)
    assert np.abs(found - longhand(gradient, words, "norm")).max() > 0.1 * found.max()


def test_a_linear_model_is_divided_into_its_terms():
    scores, weights = linear()
    run = function_run(scores)
    found = METHODS["gradient_inputs"].attribute(run, reduce="sum")
    terms = [float(weights[i, :, 1] @ run.embeddings[i]) for i in range(3)]
    np.testing.assert_allclose(found, terms, rtol=1e-12)
    assert float(found.sum() + 1) == pytest.approx(float(run.scores[1]))


def test_the_sum_is_what_a_small_step_towards_zero_takes_away():
    model = loaded()
    inputs, step = embedded(model.model), 1e-6
    found = model.explain(TEXT, method="gradient_inputs", reduce="sum", target=2).values
    for token in range(len(inputs)):
        nearer = inputs.clone()
        nearer[token] *= 1 - step
        with torch.no_grad():
            clean, moved = scores_after(model.model, torch.stack([inputs, nearer]))[:, 2]
        assert float(clean - moved) / step == pytest.approx(found[token], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("option", [{"reduce": "mean"}, {"reduce": None}])
def test_another_reduction_is_refused(option):
    with pytest.raises(BadOption, match="reduce is 'norm' or 'sum'"):
        loaded().explain(TEXT, method="gradient_inputs", **option)


def test_another_option_and_an_aggregation_are_refused():
    with pytest.raises(UnknownName, match="There is no option of gradient_inputs 'steps'"):
        loaded().explain(TEXT, method="gradient_inputs", steps=3)
    with pytest.raises(BadOption, match="no layers for rollout to combine"):
        loaded().explain(TEXT, method="gradient_inputs", aggregation="rollout")
