"""Attention rollout of Abnar & Zuidema (2020): attention, half residual, multiplied over layers."""

import numpy as np

import contextmix as cm


def augmented(layer):
    rows = []
    for i in layer.tokens:
        row = [sum(layer.alpha[h, i, j] for h in layer.heads) / len(layer.heads) + (i == j) for j in layer.tokens]
        rows.append([weight / sum(row) for weight in row])
    return rows


def longhand(layers):
    earlier, later = map(augmented, layers)
    n = len(earlier)
    return [[sum(later[i][k] * earlier[k][j] for k in range(n)) for j in range(n)] for i in range(n)]


def test_attention_rollout_multiplies_the_augmented_maps_later_by_earlier(bert, ids, layers):
    found = cm.load(bert).explain({"input_ids": ids}, method="attention_rollout")
    np.testing.assert_allclose(found.values, longhand(layers), rtol=1e-10)
    assert found.quantity == "share"


def test_its_rows_sum_to_one(bert, ids):
    found = cm.load(bert).explain({"input_ids": ids}, method="attention_rollout", layers="all").values
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-12)


def test_the_row_of_one_token_is_its_row_of_the_whole(bert, ids, layers):
    found = cm.load(bert).explain({"input_ids": ids}, method="attention_rollout", query=2)
    np.testing.assert_allclose(found.values, longhand(layers)[2], rtol=1e-10)
