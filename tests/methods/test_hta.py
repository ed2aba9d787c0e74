"""Hidden token attribution: lengths of the Jacobians of a model's own blocks, which autograd writes out in float64."""

import math

import numpy as np
import pytest
import torch
from tests.tracing.tiny import ENCODERS, build, one_thread, token_ids
from torch import Tensor

import contextmix as cm
from contextmix.traces import sensitivity

BLOCKS = {
    "bert": lambda model: model.encoder.layer,
    "roberta": lambda model: model.encoder.layer,
    "electra": lambda model: model.encoder.layer,
    "distilbert": lambda model: model.transformer.layer,
    "albert": lambda model: [model.encoder.albert_layer_groups[0].albert_layers[0]] * 2,
}


ROUNDED = 1e-6
"""Decoders compute the softmax and RMS norms in float32 whatever the model's precision: 1.7e-7 was measured."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def states_of(model, ids: Tensor) -> list[Tensor]:
    """What enters each block and what leaves the last, (n, d), as transformers says."""
    return [states[0] for states in model(input_ids=ids[None], output_hidden_states=True).hidden_states]


def lengths(function, x: Tensor, inputs: bool = False) -> list[list[float]]:
    """‖∂y_i/∂x_j‖ pair by pair; with inputs, column k of each Jacobian times x_j[k] before the length."""
    whole = torch.autograd.functional.jacobian(function, x)  # (query, output, key, input)
    found = []
    for i in range(len(x)):
        pairs = [whole[i, :, j] * x[j] if inputs else whole[i, :, j] for j in range(len(x))]
        found.append([math.sqrt(sum(float(number) ** 2 for number in pair.flatten())) for pair in pairs])
    return found


def longhand(family: str, model, ids: Tensor, inputs: bool = False, span: str = "layer") -> list:
    blocks, states = BLOCKS[family](model), states_of(model, ids)

    def through(first: int, last: int):
        def function(x: Tensor) -> Tensor:
            x = x[None]
            for block in blocks[first : last + 1]:
                out = block(x)
                x = out if isinstance(out, Tensor) else out[0]
            return x[0]

        return function

    start = range(len(blocks)) if span == "layer" else [0] * len(blocks)
    return [lengths(through(first, last), states[first].detach(), inputs) for last, first in enumerate(start)]


def close(found: cm.TokenMap, wanted, rtol: float = 1e-10) -> None:
    np.testing.assert_allclose(found.values, wanted, rtol=rtol, atol=1e-12)


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """One entry for each layer that was measured by backward passes."""
    seen, plain = [], sensitivity.backward_lengths

    def counted(*arguments) -> Tensor:
        seen.append(1)
        return plain(*arguments)

    monkeypatch.setattr(sensitivity, "backward_lengths", counted)
    return seen


@pytest.mark.parametrize("family", ENCODERS)
def test_the_closed_form_is_what_autograd_says_of_an_encoders_own_block(family, passes):
    model, ids = build(family).double(), token_ids(6)[0]
    trace = cm.load(model).trace({"input_ids": ids})
    close(cm.measure(trace, "hta"), longhand(family, model, ids))
    assert passes == []


def test_uneven_attention_and_a_large_eps(bert, ids, trace, passes):
    close(cm.measure(trace, "hta"), longhand("bert", bert, ids))
    assert passes == []


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "olmo2", "modernbert", "gpt_neox"])
def test_other_blocks_are_measured_by_backward_passes(family, passes):
    model, ids = build(family).double(), token_ids(5)[0]
    trace = cm.load(model).trace({"input_ids": ids})
    found = cm.measure(trace, "hta")
    assert len(passes) == 2

    def first_block(embeddings: Tensor) -> Tensor:  # its output is what the second one reads
        given = {"inputs_embeds": embeddings[None], "output_hidden_states": True, "use_cache": False}
        return model(**given).hidden_states[1][0]

    x = model.get_input_embeddings()(ids).detach()
    if family in ("llama", "gpt2", "olmo2", "gpt_neox"):  # others scale or norm the embeddings before the first block
        np.testing.assert_allclose(found.layer(0).values, lengths(first_block, x), rtol=ROUNDED)
    if family in ("llama", "gpt2"):
        assert np.triu(found.values, 1).max() == 0  # causal


def test_backward_passes_and_the_closed_form_agree(bert, trace):
    for layer in trace.layers:
        slow = sensitivity._backward(layer, layer.replay, layer.residual_in, None)
        torch.testing.assert_close(sensitivity.to_block_input(layer), slow, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_to_the_embeddings_is_through_all_blocks_between(family, passes):
    model, ids = build(family).double(), token_ids(5)[0]
    trace = cm.load(model).trace({"input_ids": ids})
    found = cm.measure(trace, "hta", span="embeddings")
    close(found, longhand(family, model, ids, span="embeddings"))
    assert len(passes) == 2
    np.testing.assert_allclose(found.layer(0).values, cm.measure(trace, "hta").layer(0).values, rtol=1e-10)


def test_rolled_out_it_is_never_below_the_jacobian_to_the_embeddings(trace):
    """The chain rule sums over paths, and a product of matrices is no longer than the product of their lengths."""
    bound = cm.aggregate(cm.measure(trace, "hta"), "rollout").values
    assert (bound >= cm.measure(trace, "hta", span="embeddings").values * (1 - 1e-12)).all()


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("span", ["layer", "embeddings"])
def test_a_batch_gives_the_numbers_of_each_sequence(family, span):
    model = cm.load(build(family).double())
    batch = token_ids(5, batch=3)
    alone = [cm.measure(model.trace({"input_ids": ids}), "hta", span=span).values for ids in batch]
    streamed = model.explain({"input_ids": batch}, "hta", span=span)
    kept = [cm.measure(trace, "hta", span=span) for trace in model.trace({"input_ids": batch})]
    for one, two, wanted in zip(streamed, kept, alone, strict=True):
        close(one, wanted, ROUNDED if family == "llama" else 1e-10)
        close(two, wanted, ROUNDED if family == "llama" else 1e-10)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_one_token(family):
    model = build(family).double()
    found = cm.load(model).explain({"input_ids": token_ids(1)[0]}, "hta")
    assert found.shape == (2, 1, 1)
    if family == "bert":
        close(found, longhand(family, model, token_ids(1)[0]))


def test_a_model_in_bfloat16_has_the_numbers_of_its_float32_self():
    """The closed form works in float32 on what the model recorded: only that is rounded to three digits."""
    ids = {"input_ids": token_ids(6)[0]}
    wanted = cm.load(build("bert")).explain(ids, "hta").values
    found = cm.load(build("bert").bfloat16()).explain(ids, "hta").values
    assert found.dtype == np.float32
    assert 1e-7 < np.abs(found - wanted).max() / wanted.max() < 3e-2


def test_the_model_is_left_as_it_was():
    model = build("llama")
    inputs = {"input_ids": token_ids(5)}
    with torch.no_grad():
        before = model(**inputs).last_hidden_state
    cm.load(model).explain({"input_ids": inputs["input_ids"][0]}, "hta", span="embeddings")
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        assert torch.equal(model(**inputs).last_hidden_state, before)
