"""N of Kobayashi et al. (2020): lengths of the vectors that attention moves."""

import numpy as np
from tests.methods.longhand import length, lengths, mixing_ratio

import contextmix as cm


def parts(layer):
    """z_{i←j} = Σ_h α^h_ij f^h(x_j): summed over heads before the length is taken; the output bias is nobody's."""
    found = {}
    for i in layer.tokens:
        for j in layer.tokens:
            found[i, j] = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)
    return found


def test_the_map_holds_the_length_of_the_sum_over_heads(trace, layers):
    wanted = [lengths(parts(layer), len(layer.tokens)) for layer in layers]
    np.testing.assert_allclose(cm.measure(trace, "norm").values, wanted, rtol=1e-10)


def test_each_head_by_itself_is_the_length_of_its_own_vector(trace, layers):
    wanted = [
        [
            [[length(layer.alpha[h, i, j] * layer.f[h, j]) for j in layer.tokens] for i in layer.tokens]
            for h in layer.heads
        ]
        for layer in layers
    ]
    found = cm.measure(trace, "norm", heads="each")
    assert found.dims == ("layer", "head", "query", "key")
    np.testing.assert_allclose(found.values, wanted, rtol=1e-10)


def test_the_mixing_ratio_is_equation_8_on_these_vectors(trace, layers):
    wanted = [mixing_ratio(parts(layer), len(layer.tokens)) for layer in layers]
    np.testing.assert_allclose(cm.mixing_ratio(trace, "norm").values, wanted, rtol=1e-10)


def test_the_parts_and_the_output_bias_sum_to_what_attention_puts_out(trace, layers):
    for traced, layer in zip(trace.layers, layers, strict=True):
        found = parts(layer)
        for i in layer.tokens:
            total = sum(found[i, j] for j in layer.tokens)
            np.testing.assert_allclose(traced.attention_out[i].numpy(), total + layer.b_o, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(traced.attention_parts.total[i].numpy(), total, rtol=1e-10, atol=1e-12)
