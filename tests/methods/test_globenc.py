"""GlobEnc: the rollout of N_Enc, un-normalised, no identity added; every token's row, and the row of one token."""

import numpy as np
import pytest
from tests.methods.longhand import g, length

import contextmix as cm


def local_map(layer):
    rows = []
    for i in layer.tokens:
        row = []
        for j in layer.tokens:
            part = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)
            part = part + layer.x[i] if i == j else part
            part = g(part, layer.z_plus[i], layer.gamma1, layer.eps)
            row.append(length(g(part, layer.z_tilde_plus[i], layer.gamma2, layer.eps)))
        rows.append(row)
    return rows


def longhand(layers):
    """Two layers, so: Σ_k later_ik · earlier_kj (GlobEnc, eq. 12)."""
    earlier, later = map(local_map, layers)
    n = len(earlier)
    return [[sum(later[i][k] * earlier[k][j] for k in range(n)) for j in range(n)] for i in range(n)]


def test_globenc_multiplies_the_maps_of_all_layers_later_by_earlier(bert, ids, layers):
    found = cm.load(bert).explain({"input_ids": ids}, method="globenc")
    np.testing.assert_allclose(found.values, longhand(layers), rtol=1e-10)
    assert found.values.dtype == np.float64
    assert found.quantity == "norm"


@pytest.mark.parametrize("query", range(5))
def test_the_row_of_one_token_is_its_row_of_the_whole(bert, ids, layers, query):
    found = cm.load(bert).explain({"input_ids": ids}, method="globenc", query=query)
    np.testing.assert_allclose(found.values, longhand(layers)[query], rtol=1e-10)


def test_the_first_layers_entry_is_the_first_local_map(bert, ids, layers):
    found = cm.load(bert).explain({"input_ids": ids}, method="globenc", layers="all").values
    np.testing.assert_allclose(found[0], local_map(layers[0]), rtol=1e-10)
    np.testing.assert_allclose(found[1], longhand(layers), rtol=1e-10)


def test_it_is_not_the_transposed_product_and_not_row_normalised(layers):
    # What a mistake would give is far away here, so the tests above see it.
    earlier, later = (np.array(local_map(layer)) for layer in layers)
    right = np.array(longhand(layers))
    assert np.abs(earlier @ later - right).max() > 0.1 * right.max()
    shares = [one / one.sum(-1, keepdims=True) for one in (earlier, later)]
    assert np.abs(shares[1] @ shares[0] - right / right.sum(-1, keepdims=True)).max() > 1e-3
