"""W_FixedRes of GlobEnc (eq. 13): the residual counts one half."""

import numpy as np

import contextmix as cm


def longhand(layer):
    """½ W + ½ I, written as Abnar & Zuidema (2020) do: add the identity, divide each row by its sum."""
    rows = []
    for i in layer.tokens:
        row = [sum(layer.alpha[h, i, j] for h in layer.heads) / len(layer.heads) + (i == j) for j in layer.tokens]
        rows.append([weight / sum(row) for weight in row])
    return rows


def test_the_map_adds_the_identity_to_attention_and_divides_by_the_row_sum(trace, layers):
    found = cm.measure(trace, "attention_fixed_residual").values
    np.testing.assert_allclose(found, [longhand(layer) for layer in layers], rtol=1e-10)


def test_the_mixing_ratio_is_half_of_what_attention_gives_to_others(trace, layers):
    wanted = [
        [sum(layer.alpha[h, i, j] for h in layer.heads for j in layer.tokens if j != i) / 4 for i in layer.tokens]
        for layer in layers
    ]
    np.testing.assert_allclose(cm.mixing_ratio(trace, "attention_fixed_residual").values, wanted, rtol=1e-10)
