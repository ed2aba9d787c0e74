"""N_ResLN of Kobayashi et al. (2021): lengths after the norm that follows attention."""

import numpy as np
import pytest
import torch
from tests.methods.longhand import g, lengths, mixing_ratio
from tests.strategies import toy_layer

import contextmix as cm
from contextmix.plugins.plan import METHODS


def parts(layer):
    """z̃_{i←j}: each part less its own mean, over the standard deviation of the true z⁺_i (with b_O), times γ₁."""
    found = {}
    for i in layer.tokens:
        for j in layer.tokens:
            part = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)
            if i == j:
                part = part + layer.x[i]
            found[i, j] = g(part, layer.z_plus[i], layer.gamma1, layer.eps)
    return found


def test_the_map_holds_lengths_after_the_first_norm(trace, layers):
    wanted = [lengths(parts(layer), len(layer.tokens)) for layer in layers]
    np.testing.assert_allclose(cm.measure(trace, "norm_attention_block").values, wanted, rtol=1e-10)


def test_the_mixing_ratio_is_equation_8_on_these_vectors(trace, layers):
    wanted = [mixing_ratio(parts(layer), len(layer.tokens)) for layer in layers]
    np.testing.assert_allclose(cm.mixing_ratio(trace, "norm_attention_block").values, wanted, rtol=1e-10)


def test_the_parts_and_the_biases_sum_to_what_the_norm_puts_out(bert, layers):
    for block, layer in zip(bert.encoder.layer, layers, strict=True):
        found, beta1 = parts(layer), block.attention.output.LayerNorm.bias.detach().numpy()
        for i in layer.tokens:
            biases = g(layer.b_o, layer.z_plus[i], layer.gamma1, layer.eps) + beta1
            total = sum(found[i, j] for j in layer.tokens)
            np.testing.assert_allclose(total + biases, layer.z_tilde[i], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", ["pre-norm", "sandwich", "no norm", "parallel"])
def test_without_a_norm_after_attention_it_is_norm_residual(layout):
    layer = toy_layer(layout)
    found, plain = (METHODS[name].measure(layer) for name in ("norm_attention_block", "norm_residual"))
    assert torch.equal(found, plain)
