"""N_Enc of GlobEnc (eq. 10 and 11): lengths after both norms of an encoder block."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.methods.longhand import g, lengths, mixing_ratio
from tests.strategies import toy_layer

import contextmix as cm
from contextmix.plugins.plan import METHODS


def parts(layer):
    """x̃_{i←j}: z̃_{i←j} through the second norm, whose deviation is that of the true z̃⁺_i = FFN(z̃_i) + z̃_i."""
    found = {}
    for i in layer.tokens:
        for j in layer.tokens:
            part = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)
            if i == j:
                part = part + layer.x[i]
            part = g(part, layer.z_plus[i], layer.gamma1, layer.eps)
            found[i, j] = g(part, layer.z_tilde_plus[i], layer.gamma2, layer.eps)
    return found


def test_the_map_holds_lengths_after_both_norms(trace, layers):
    wanted = [lengths(parts(layer), len(layer.tokens)) for layer in layers]
    np.testing.assert_allclose(cm.measure(trace, "norm_encoder").values, wanted, rtol=1e-10)


def test_the_mixing_ratio_is_equation_8_on_these_vectors(trace, layers):
    wanted = [mixing_ratio(parts(layer), len(layer.tokens)) for layer in layers]
    np.testing.assert_allclose(cm.mixing_ratio(trace, "norm_encoder").values, wanted, rtol=1e-10)


def test_the_feed_forward_part_enters_through_the_deviation_alone():
    layer = toy_layer()
    calm, loud = (replace(layer, ffn_out=layer.ffn_out * factor) for factor in (0.0, 100.0))
    small, large = METHODS["norm_encoder"].measure(calm), METHODS["norm_encoder"].measure(loud)
    factor = small / large
    assert (factor.mean(-1) > 5).all()
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-9, atol=0)  # one number per row


@pytest.mark.parametrize("layout", ["pre-norm", "sandwich", "no norm", "parallel"])
def test_without_a_norm_after_the_feed_forward_part_it_is_norm_residual(layout):
    layer = toy_layer(layout)
    found, plain = (METHODS[name].measure(layer) for name in ("norm_encoder", "norm_residual"))
    assert torch.equal(found, plain)
