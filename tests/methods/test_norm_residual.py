"""N_Res of Kobayashi et al. (2021): lengths with the residual."""

import numpy as np
import pytest
from tests.methods.longhand import length, lengths, mixing_ratio
from tests.strategies import toy_layer

import contextmix as cm
from contextmix.plugins.plan import METHODS


def parts(layer):
    """z⁺_{i←j} = Σ_h α^h_ij f^h(x_j) + 1[i = j] x_i."""
    found = {}
    for i in layer.tokens:
        for j in layer.tokens:
            found[i, j] = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)
        found[i, i] = found[i, i] + layer.x[i]
    return found


def test_the_map_holds_lengths_after_the_residual_is_added(trace, layers):
    wanted = [lengths(parts(layer), len(layer.tokens)) for layer in layers]
    np.testing.assert_allclose(cm.measure(trace, "norm_residual").values, wanted, rtol=1e-10)


def test_the_mixing_ratio_is_equation_8_on_these_vectors(trace, layers):
    wanted = [mixing_ratio(parts(layer), len(layer.tokens)) for layer in layers]
    np.testing.assert_allclose(cm.mixing_ratio(trace, "norm_residual").values, wanted, rtol=1e-10)


def test_the_parts_and_the_output_bias_sum_to_the_residual_stream(layers):
    for layer in layers:
        found = parts(layer)
        for i in layer.tokens:
            total = sum(found[i, j] for j in layer.tokens)
            np.testing.assert_allclose(total + layer.b_o, layer.z_plus[i], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", ["sandwich", "norm on output"])
def test_a_norm_and_a_scale_on_the_attention_output_act_on_every_part(layout):
    layer = toy_layer(layout)
    norm, scale, n = layer.block.attention.norm_out, layer.block.attention.scale, layer.attention.shape[-1]
    gamma, scale = norm.weight.numpy(), scale if isinstance(scale, float) else scale.numpy()
    sources, attention, full = (layer.value @ layer.block.output_weight).numpy(), layer.attention, layer.attention_out
    for i in range(n):
        row = full[i].numpy()
        centred = row - row.mean() if norm.kind == "layer" else row
        for j in range(n):
            part = sum(attention[h, i, j].item() * sources[h, j] for h in range(len(attention)))
            part = part - part.mean() if norm.kind == "layer" else part
            part = part / np.sqrt((centred**2).mean() + norm.eps) * gamma * scale
            part = part + layer.residual_in[i].numpy() if i == j else part
            assert METHODS["norm_residual"].measure(layer)[i, j].item() == pytest.approx(length(part), rel=1e-10)
