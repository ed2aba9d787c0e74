"""N_FixedRes of GlobEnc (eq. 16): the only norm map with rows that sum to one."""

import numpy as np
from tests.methods.longhand import length

import contextmix as cm


def longhand(layer):
    """½ N_ij / Σ_k N_ik + ½ 1[i = j]."""
    rows = []
    for i in layer.tokens:
        row = [length(sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)) for j in layer.tokens]
        rows.append([0.5 * number / sum(row) + (0.5 if i == j else 0.0) for j, number in enumerate(row)])
    return rows


def test_the_map_is_half_the_norms_as_shares_and_half_the_identity(trace, layers):
    found = cm.measure(trace, "norm_fixed_residual").values
    np.testing.assert_allclose(found, [longhand(layer) for layer in layers], rtol=1e-10)
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-12)
