"""W_Res of GlobEnc (eq. 14 and 15): attention with the residual at the size that N_Enc measures."""

import numpy as np
from tests.methods.longhand import g, mixing_ratio
from tests.strategies import toy_layer

import contextmix as cm
from contextmix.plugins.plan import METHODS


def ratio(layer):
    """r̂ comes from x̃_{i←j}, the vectors behind both norms (N_Enc), not from those behind the first one."""
    parts = {}
    for i in layer.tokens:
        for j in layer.tokens:
            part = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)
            if i == j:
                part = part + layer.x[i]
            part = g(part, layer.z_plus[i], layer.gamma1, layer.eps)
            parts[i, j] = g(part, layer.z_tilde_plus[i], layer.gamma2, layer.eps)
    return mixing_ratio(parts, len(layer.tokens))


def longhand(layer):
    out, r = [[0.0 for _ in layer.tokens] for _ in layer.tokens], ratio(layer)
    for i in layer.tokens:
        weights = [sum(layer.alpha[h, i, j] for h in layer.heads) / len(layer.heads) for j in layer.tokens]
        others = sum(weights[j] for j in layer.tokens if j != i)
        for j in layer.tokens:
            out[i][j] = 1 - r[i] if i == j else r[i] * weights[j] / others
    return out


def test_the_map_shares_the_measured_ratio_out_by_attention(trace, layers):
    found = cm.measure(trace, "attention_residual").values
    np.testing.assert_allclose(found, [longhand(layer) for layer in layers], rtol=1e-10)


def test_the_mixing_ratio_is_that_of_the_whole_encoder_block(trace, layers):
    found = cm.mixing_ratio(trace, "attention_residual").values
    np.testing.assert_allclose(found, [ratio(layer) for layer in layers], rtol=1e-10)


def test_the_ratios_of_the_attention_block_are_other_numbers(trace):
    # Kobayashi's original ratio stops after the first norm. If both were equal here, the test above could not tell.
    block, attention_block = cm.mixing_ratio(trace, "norm_encoder"), cm.mixing_ratio(trace, "norm_attention_block")
    assert np.abs(block.values - attention_block.values).max() > 1e-3


def test_one_token_gives_one_and_not_zero_divided_by_zero():
    assert METHODS["attention_residual"].measure(toy_layer(n=1)).tolist() == [[1.0]]
