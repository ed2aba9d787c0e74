"""Mixers that are no attention are found by what reaches what, and their maps are those of the model."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from tests.tracing.mixing import FAMILIES, Family, N, heard, same_again, same_gates
from tests.tracing.tiny import hook_count, token_ids
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import UnsupportedModel

ROLLED_OUT = ["globenc", "alti_rollout", "value_zeroing_rollout"]


def really_zeroed(family: Family, model: nn.Module, ids: Tensor, tokens: list[int]) -> Tensor:
    """The first layer's output when the values of these tokens are zero and its routing is what it was, by hooks."""
    mixer, layer = family.mixer_of(model), model.get_submodule(f"{family.layers}.0")
    gates: list[Tensor] = []
    with same_gates(gates, keep=True):
        said = heard(mixer, lambda: model(ids, use_cache=False))
    columns, left = family.columns(mixer), []

    def zero(_: nn.Module, __: object, output: Tensor) -> Tensor:
        output = output.clone()
        for token in tokens:
            output[0, token, columns] = 0
        return output

    def leave(_: nn.Module, __: object, output: Tensor) -> None:
        left.append((output if isinstance(output, Tensor) else output[0])[0].clone())

    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(same_again(mixer, said, family.routing))
        stack.enter_context(same_gates(gates, keep=False))
        handles = [mixer.get_submodule(family.maker).register_forward_hook(zero), layer.register_forward_hook(leave)]
        model(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return left[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_value_zeroing_is_what_really_zeroed_values_do(name: str):
    family, ids = FAMILIES[name], token_ids(N)
    model = family.build()
    clean = really_zeroed(family, model, ids, [])
    wanted = torch.zeros(N, N, dtype=clean.dtype)
    trace = cm.load(model).trace({"input_ids": ids[0]})
    for token in range(N):
        changed = really_zeroed(family, model, ids, [token])
        wanted[:, token] = 1 - torch.nn.functional.cosine_similarity(clean, changed, dim=-1)
        replayed = trace.layers[0].replay_zeroed(token, None)
        torch.testing.assert_close(replayed, changed, rtol=0, atol=10 * family.exact)
    found = cm.measure(trace, "value_zeroing", normalise=False).values[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=family.exact)
    assert not np.triu(found, 1).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_with_the_residual_are_the_state_of_each_row(name: str):
    family = FAMILIES[name]
    trace = cm.load(family.build()).trace({"input_ids": token_ids(N)[0]})
    layer = trace.layers[0]
    parts, sent = layer.residual_parts, torch.zeros(N, N, 16, dtype=torch.float64)
    for row in range(N):
        for token in range(N):
            for channel, weight in enumerate(layer.block.output_weight[:, 0]):
                sent[row, token] += layer.attention[channel, row, token] * layer.value[channel, token, 0] * weight
        sent[row, row] += layer.residual_in[row]
    sent *= layer.block.attention.scale
    biased = parts.total + layer.block.output_bias
    torch.testing.assert_close(sent.sum(1) + layer.block.output_bias, biased, rtol=0, atol=10 * family.exact)
    torch.testing.assert_close(biased, layer.states.attention_sum, rtol=0, atol=1e-9)
    torch.testing.assert_close(parts.lengths(), sent.norm(dim=-1), rtol=0, atol=1e-9)
    torch.testing.assert_close(parts.diagonal(), sent.diagonal().T, rtol=0, atol=1e-9)
    whole = layer.states.attention_sum
    nearer = whole.abs().sum(-1, keepdim=True) - (whole[:, None] - sent).abs().sum(-1)
    wanted = nearer.clamp(min=0).tril()
    found = cm.measure(trace, "alti", normalise=False)
    np.testing.assert_allclose(found.values[0], wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_is_left_as_it_was_and_proves_itself(name: str):
    family, ids = FAMILIES[name], token_ids(N)
    model = family.build()
    with torch.no_grad():
        plain = model(ids, use_cache=False)[0]
    traced = cm.load(model)
    report = traced.check({"input_ids": ids[0]})
    assert report.parity <= 1e-6
    assert report.checks.layers == 2
    assert hook_count(model) == 0
    with torch.no_grad():
        assert torch.equal(model(ids, use_cache=False)[0], plain)
    assert traced.is_causal


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_is_its_sequences_one_by_one(name: str):
    traced, ids = cm.load(FAMILIES[name].build()), token_ids(N, batch=3)
    for row, trace in enumerate(traced.trace({"input_ids": ids})):
        alone = traced.trace({"input_ids": ids[row]})
        for layer, own in zip(trace.layers, alone.layers, strict=True):
            torch.testing.assert_close(layer.attention, own.attention, rtol=0, atol=1e-6)
            torch.testing.assert_close(layer.value, own.value, rtol=0, atol=1e-6)
            torch.testing.assert_close(layer.replay_zeroed(2, None), own.replay_zeroed(2, None), rtol=0, atol=1e-6)
            if layer.channelwise:
                torch.testing.assert_close(layer.block.output_bias, own.block.output_bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_rolled_out_methods_work_across_layers_of_both_kinds(name: str):
    traced, ids = cm.load(FAMILIES[name].build()), token_ids(N)[0]
    for method in ROLLED_OUT:
        found = traced.explain({"input_ids": ids}, method)
        assert np.isfinite(found.values).all()
        assert not np.triu(found.values, 1).any()


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_flow", "effective_attention"])
def test_methods_that_read_weights_are_refused_by_name(method: str):
    traced = cm.load(FAMILIES["short convolution"].build())
    with pytest.raises(UnsupportedModel, match=r"Layer 0 is no attention.*need not sum to one"):
        traced.explain({"input_ids": token_ids(N)[0]}, method)


@pytest.mark.parametrize("head", ["Model", "ForCausalLM"])
def test_what_is_usually_explored_leaves_weights_out(head: str):
    found = cm.load(FAMILIES["short convolution"].build(head)).explore({"input_ids": token_ids(N)[0]})
    assert "norm_encoder" in found.maps
    assert not {"attention", "attention_rollout"} & set(found.maps)


def test_heads_of_channels_cannot_be_zeroed_by_themselves():
    traced = cm.load(FAMILIES["short convolution"].build())
    with pytest.raises(UnsupportedModel, match="value_zeroing knows no heads here"):
        traced.explain({"input_ids": token_ids(N)[0]}, "value_zeroing", heads=[0])


@pytest.mark.parametrize("name", ["short convolution", "gated recurrence"])
def test_derivatives_are_those_of_the_model(name: str):
    layer = cm.load(FAMILIES[name].build()).trace({"input_ids": token_ids(5)[0]}).layers[0]
    states = layer.residual_in.clone().requires_grad_()
    (found,) = torch.autograd.grad(layer.replay(states)[3, 1], states)
    step = torch.zeros_like(states)
    step[2, 4] = 1e-4
    with torch.no_grad():
        both = layer.replay(layer.residual_in + step)[3, 1] - layer.replay(layer.residual_in - step)[3, 1]
    assert float(both / 2e-4) == pytest.approx(float(found[2, 4]), abs=1e-3)
