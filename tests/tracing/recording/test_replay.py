"""A recorded block can be run again on other states: the same function, differentiable, and nobody hears it."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from tests.tracing.tiny import DECODERS, ENCODERS, build, hook_count, settings, token_ids
from torch import Tensor

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.plugins.plan import METHODS
from contextmix.traces.sensitivity import to_block_input, to_embeddings
from contextmix.tracing.recording.record import record

FAMILIES = [*ENCODERS, *DECODERS, "gemma2", "granite", "olmo2", "modernbert", "phi", "gpt_neox"]


def layers_of(traced: cm.TracedModel, ids: Tensor) -> tuple[cm.LayerTrace, ...]:
    return traced.trace({"input_ids": ids}).layers


def later(one: Tensor) -> Tensor:
    return one + 0.1 * torch.linspace(-1, 1, one.numel()).reshape(one.shape)


@pytest.mark.parametrize("family", FAMILIES)
def test_on_its_own_states_a_block_gives_its_own_output(family: str, request: pytest.FixtureRequest):
    for layer in layers_of(request.getfixturevalue(family), token_ids(7)[0]):
        assert layer.replay is not None
        assert layer.replay_from_embeddings is not None
        assert torch.equal(layer.replay(layer.residual_in), layer.residual_out)
        assert torch.equal(layer.replay_from_embeddings(layer.embeddings), layer.residual_out)


@pytest.mark.parametrize("family", FAMILIES)
def test_on_other_states_it_is_the_same_block(family: str, request: pytest.FixtureRequest):
    """Replaying the next layer's input from the changed first one is what the whole model does."""
    traced = request.getfixturevalue(family)
    first, second = layers_of(traced, token_ids(7)[0])
    changed = later(first.residual_in)
    found = second.replay(first.replay(changed))
    assert torch.equal(found, second.replay_from_embeddings(changed))
    assert (found - second.residual_out).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_gradients_flow_to_the_states_and_to_nothing_else(family: str, request: pytest.FixtureRequest):
    traced = request.getfixturevalue(family)
    layer = layers_of(traced, token_ids(5)[0])[1]
    states = layer.residual_in.clone().requires_grad_()
    with torch.no_grad():  # methods are called so
        found = layer.replay(states)
    (slopes,) = torch.autograd.grad(found.square().sum(), states)
    assert slopes.abs().max() > 0
    assert all(parameter.grad is None for parameter in traced.model.parameters())


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_one_sequence_of_a_batch(family: str, request: pytest.FixtureRequest):
    traced, ids = request.getfixturevalue(family), token_ids(5, batch=3)
    for row, trace in enumerate(traced.trace({"input_ids": ids})):
        alone = layers_of(traced, ids[row])
        for layer, own in zip(trace.layers, alone, strict=True):
            changed = later(layer.residual_in)
            torch.testing.assert_close(layer.replay(changed), own.replay(changed), rtol=1e-5, atol=1e-5)
            changed = later(layer.embeddings)
            together, single = layer.replay_from_embeddings(changed), own.replay_from_embeddings(changed)
            torch.testing.assert_close(together, single, rtol=1e-5, atol=1e-5)


def test_a_replay_within_a_run_is_not_recorded(bert: cm.TracedModel):
    ids, seen = token_ids(6), []

    def visit(layer: cm.LayerTrace) -> None:
        assert torch.equal(layer.replay(layer.residual_in), layer.residual_out)
        layer.replay_from_embeddings(later(layer.embeddings))
        seen.append(layer.attention)

    record(bert.model, bert.anatomy(), {"input_ids": ids}, visit)
    wanted = [layer.attention for layer in layers_of(bert, ids[0])]
    assert all(torch.equal(one[0], other) for one, other in zip(seen, wanted, strict=True))


def test_the_model_is_left_as_it_was():
    model = build("llama")
    before, hooks = settings(model), hook_count(model)
    layer = layers_of(cm.load(model), token_ids(5)[0])[1]
    model.train()
    layer.replay_from_embeddings(layer.embeddings)
    assert settings(model) == before
    assert hook_count(model) == hooks
    assert all(module.training for module in model.modules())


def test_a_replay_and_a_run_in_two_threads_take_turns():
    traced = cm.load(build("bert"))
    layer = layers_of(traced, token_ids(6)[0])[1]
    inputs, found = {"input_ids": token_ids(8)[0]}, []
    wanted = traced.explain(inputs).values

    def explain() -> None:
        found.extend(traced.explain(inputs).values for _ in range(10))

    other = threading.Thread(target=explain)
    other.start()
    replays = [layer.replay(layer.residual_in) for _ in range(40)]
    other.join()
    assert len(found) == 10
    for values in found:  # another thread may add up in another order
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-5 * wanted.max())
    assert all(torch.equal(one, layer.residual_out) for one in replays)


def test_half_precision_is_the_models_and_not_the_traces():
    layer = layers_of(cm.load(build("llama").bfloat16()), token_ids(5)[0])[1]
    found = layer.replay(layer.residual_in)
    assert found.dtype == layer.residual_in.dtype == torch.float32
    assert torch.equal(found, layer.residual_out)


# Refused -------------------------------------------------------------------------------------------------------------


def test_a_block_that_lets_no_gradient_through_is_refused():
    model = build("llama")
    layer = layers_of(cm.load(model), token_ids(5)[0])[1]
    plain = type(model.layers[1]).forward

    def rounded(*args: Any, **kwargs: Any) -> Tensor:
        return plain(model.layers[1], *args, **kwargs).detach()

    model.layers[1].forward = rounded
    with pytest.raises(UnsupportedModel, match="LlamaDecoderLayer passes no gradients"):
        METHODS["hta"].measure(layer)


def test_a_block_that_has_changed_since_is_refused():
    model = build("llama")
    layer = layers_of(cm.load(model), token_ids(5)[0])[1]
    with torch.no_grad():
        model.layers[1].mlp.down_proj.weight.mul_(2)
    for ask in (to_block_input, to_embeddings):
        with pytest.raises(TraceDoesNotAddUp, match="Layer 1: run again on the same states, it gives an output that"):
            ask(layer)


def test_a_layer_that_cannot_be_run_again_is_refused(llama: cm.TracedModel):
    layer = layers_of(llama, token_ids(5)[0])[0]
    bare = {name: getattr(layer, name) for name in ("attention", "value", "residual_in", "attention_out", "ffn_out")}
    toy = cm.LayerTrace(0, residual_out=layer.residual_out, block=layer.block, **bare)
    for ask in (to_block_input, to_embeddings):
        with pytest.raises(UnsupportedModel, match="Layer 0 was recorded without a way to run it again"):
            ask(toy)
