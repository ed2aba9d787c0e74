"""The norm family on real blocks of every layout: vectors by loops, which must add up to what the model computed."""

import numpy as np
import pytest
import torch
from tests.methods.longhand import length
from tests.methods.test_value_zeroing import VALUES
from tests.tracing.tiny import build, in_float64, token_ids

import contextmix as cm

CAUSAL = {"llama", "gpt2", "gemma2", "granite", "olmo2", "phi", "gpt_neox"}


@pytest.fixture(scope="module", params=VALUES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def trace(family):
    model = in_float64(build(family))
    model.set_attn_implementation("eager")
    return cm.load(model).trace({"input_ids": token_ids(5, seed=3)[0]})


def pushed(vector, full, norm):
    """One vector through a norm whose denominator is that of the full row; without the bias."""
    if norm is None:
        return vector
    gamma = np.ones_like(full) if norm.weight is None else norm.weight.numpy()
    if norm.kind == "layer":
        full, vector = full - full.mean(), vector - vector.mean()
    return vector / np.sqrt((full**2).mean() + norm.eps) * gamma


def bias_of(norm):
    return 0.0 if norm is None or norm.bias is None else norm.bias.numpy()


def scale_of(norms):
    return norms.scale.numpy() if torch.is_tensor(norms.scale) else norms.scale


def rows_of(layer):
    """For each query: the parts of every key after each step, and what belongs to no key."""
    block, states, norms = layer.block, layer.states, layer.block.attention
    for i in range(layer.attention.shape[-2]):
        raw, mixed, done = (x[i].numpy() for x in (layer.attention_out, states.attention_sum, states.ffn_sum))
        parts = []
        for j in range(layer.attention.shape[-1]):
            drawn = sum(
                layer.attention[h, i, j].item() * (layer.value[h, j].numpy() @ block.output_weight[h].numpy())
                for h in range(len(block.output_weight))
            )
            added = pushed(drawn, raw, norms.norm_out) * scale_of(norms)
            residual = added + (layer.residual_in[i].numpy() if i == j else 0.0)
            middle = pushed(residual, mixed, norms.norm_after)
            parts.append((drawn, residual, middle, pushed(middle, done, block.ffn.norm_after)))
        bias = 0.0 if block.output_bias is None else block.output_bias.numpy()
        rest = (pushed(bias + 0 * raw, raw, norms.norm_out) + bias_of(norms.norm_out)) * scale_of(norms)
        yield i, parts, bias, rest, pushed(rest, mixed, norms.norm_after) + bias_of(norms.norm_after)


def test_parts_and_biases_add_up_to_what_the_model_computed(trace):
    for layer in trace.layers:
        states = layer.states
        for i, parts, bias, rest, rest_after in rows_of(layer):
            drawn, residual, middle, _ = (sum(part) for part in zip(*parts, strict=True))
            for found, true in (
                (drawn + bias, layer.attention_out),
                (residual + rest, states.attention_sum),
                (middle + rest_after, states.residual_mid),
            ):
                np.testing.assert_allclose(found, true[i].numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "step"), [("norm", 0), ("norm_residual", 1), ("norm_attention_block", 2), ("norm_encoder", 3)]
)
def test_maps_hold_the_lengths_of_these_vectors(trace, method, step):
    found = cm.measure(trace, method).values
    for layer in trace.layers:
        for i, parts, *_ in rows_of(layer):
            wanted = [length(part[step]) for part in parts]
            np.testing.assert_allclose(found[layer.index, i], wanted, rtol=1e-9, atol=1e-9 * max(wanted))


def test_causal_maps_are_exactly_zero_above_the_diagonal(trace, family):
    for method in ("attention", "norm", "norm_encoder", "value_zeroing", "alti", "effective_attention"):
        found = cm.measure(trace, method).values
        above = np.triu(np.ones(found.shape[-2:], dtype=bool), 1)
        assert (found[:, above] == 0).all() == (family in CAUSAL), method
