"""ALTI across layers: the product of its shares, later by earlier, no residual added."""

import numpy as np
import pytest
from tests.methods.test_alti import contributions, manhattan, shares

import contextmix as cm


def longhand(layers):
    earlier, later = (shares(contributions(layer, manhattan)) for layer in layers)
    n = len(earlier)
    return [[sum(later[i][k] * earlier[k][j] for k in range(n)) for j in range(n)] for i in range(n)]


def test_it_multiplies_the_shares_of_all_layers_later_by_earlier(bert, ids, layers):
    found = cm.load(bert).explain({"input_ids": ids}, method="alti_rollout")
    np.testing.assert_allclose(found.values, longhand(layers), rtol=1e-8, atol=1e-12)
    assert found.quantity == "share"


@pytest.mark.parametrize("query", [0, 4])
def test_the_row_of_one_token_is_its_row_of_the_whole(bert, ids, layers, query):
    found = cm.load(bert).explain({"input_ids": ids}, method="alti_rollout", query=query)
    np.testing.assert_allclose(found.values, longhand(layers)[query], rtol=1e-8, atol=1e-12)


def test_rows_sum_to_one_and_zero_rows_are_reported(bert, ids):
    found = cm.load(bert).explain({"input_ids": ids}, method="alti_rollout", layers="all")
    np.testing.assert_allclose(found.values.sum(-1), 1.0, rtol=1e-12)
    assert found.provenance.notes["zero_rows"] == [0, 0]


def test_options_of_the_map_can_be_given(bert, ids):
    model = cm.load(bert)
    found = model.explain({"input_ids": ids}, method="alti_rollout", distance="l2").values
    assert np.abs(found - model.explain({"input_ids": ids}, method="alti_rollout").values).max() > 0.01
