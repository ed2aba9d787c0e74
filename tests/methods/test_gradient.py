"""The plain gradient, and what all gradient methods refuse and leave alone."""

import numpy as np
import pytest
import torch
from tests.methods.classifiers import (
    TEXT,
    autograd,
    bert,
    embedded,
    finite_differences,
    function_run,
    linear,
    loaded,
    scores_after,
    tokenizer,
)
from tests.methods.longhand import length
from tests.tracing.tiny import one_thread

import contextmix as cm
from contextmix.errors import NotFinite, UnknownName, UnsupportedModel
from contextmix.plugins.plan import METHODS


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


GRADIENTS = ["gradient", "gradient_inputs", "integrated_gradients"]
each_gradient = pytest.mark.parametrize("method", GRADIENTS)


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("derivative", [autograd, finite_differences])
def test_each_token_has_the_length_of_its_gradient(derivative, target):
    model = loaded()
    wanted = derivative(model.model, embedded(model.model), target)
    found = model.explain(TEXT, method="gradient", target=target)
    np.testing.assert_allclose(found.values, [length(row) for row in wanted.numpy()], rtol=1e-7)
    assert found.dims == ("key",)
    assert found.quantity == "gradient"
    assert found.values.dtype == np.float64


def test_without_a_target_the_predicted_class_is_explained():
    model = loaded()
    predicted = int(scores_after(model.model, embedded(model.model)[None]).argmax())
    own, others = (
        model.explain(TEXT, method="gradient", target=target).values for target in (predicted, (predicted + 1) % 3)
    )
    found = model.explain(TEXT, method="gradient")
    np.testing.assert_array_equal(found.values, own)
    assert np.abs(own - others).max() > 0.01 * own.max()
    assert found.provenance.notes["target"] == f"LABEL_{predicted}"


def test_the_gradient_of_a_linear_model_is_its_weights():
    scores, weights = linear()
    for target in (0, 1):
        found = METHODS["gradient"].attribute(function_run(scores, target=target))
        np.testing.assert_allclose(found, [length(weights[i, :, target].numpy()) for i in range(3)], rtol=1e-12)


# All gradient methods


@each_gradient
@pytest.mark.parametrize("training", [False, True])
def test_a_model_is_left_as_it_was(method, training):
    model = bert(hidden_dropout_prob=0.5)
    wanted = cm.load(model, tokenizer()).explain(TEXT, method=method).values
    model.train(training)
    model.bert.pooler.eval()
    model.bert.embeddings.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    found = cm.load(model, tokenizer()).explain(TEXT, method=method).values
    np.testing.assert_array_equal(found, wanted)  # no dropout
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert len(set(flags)) == 2
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(*pair) for pair in zip(weights, model.parameters(), strict=True))
    assert not any(module._forward_pre_hooks for module in model.modules())


@each_gradient
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_callers_may_have_switched_gradients_off(method, mode):
    model = loaded()
    wanted = model.explain(TEXT, method=method).values
    with mode():
        found = model.explain(TEXT, method=method).values
    np.testing.assert_array_equal(found, wanted)


@each_gradient
def test_a_text_of_one_token(method):
    model = loaded()
    found = model.explain({"input_ids": [7]}, method=method)
    assert found.values.shape == (1,)
    assert abs(found.values[0]) > 1e-3


@each_gradient
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_gives_float32_numbers_near_the_exact_ones(method, dtype):
    exact = loaded().explain(TEXT, method=method, target=1).values
    found = loaded(dtype).explain(TEXT, method=method, target=1).values
    assert found.dtype == np.float32
    near = {torch.float32: 1e-5, torch.float16: 0.05, torch.bfloat16: 0.3}[dtype]
    assert np.abs(found - exact).max() <= near * np.abs(exact).max()


@each_gradient
def test_a_model_without_class_scores_is_refused(method):
    model = cm.load(bert().bert, tokenizer())
    with pytest.raises(UnsupportedModel, match="gives no score per class"):
        model.explain(TEXT, method=method)


@each_gradient
@pytest.mark.parametrize("target", [3, "LABEL_7"])
def test_a_class_that_does_not_exist_is_refused(method, target):
    with pytest.raises(UnknownName, match="There is no class"):
        loaded().explain(TEXT, method=method, target=target)


@each_gradient
@pytest.mark.parametrize(
    "scores",
    [
        lambda points: torch.ones(len(points), 2),
        lambda points: linear()[0](points.detach()),
        lambda points: linear()[0](points * 0),
    ],
    ids=["constant", "detached", "times zero"],
)
def test_scores_that_do_not_react_are_an_error_and_not_zeros(method, scores):
    with pytest.raises(UnsupportedModel, match="score of 'class 1' does not react to the embeddings"):
        METHODS[method].attribute(function_run(scores))


@each_gradient
def test_an_infinite_gradient_is_refused(method):
    def scores(points):
        return linear()[0](points) + (points - points.detach()).abs().sqrt().sum((1, 2))[:, None]

    with pytest.raises(NotFinite, match="gradient of the score of 'class 1' is NaN or infinite"):
        METHODS[method].attribute(function_run(scores))


@each_gradient
def test_a_quantised_model_is_refused(method):
    model = cm.load(bert(), tokenizer())
    model.anatomy()
    model.model.config.quantization_config = {"quant_method": "bitsandbytes"}
    with pytest.raises(UnsupportedModel, match=r"BertForSequenceClassification is quantised.*occlusion"):
        model.explain(TEXT, method=method)
