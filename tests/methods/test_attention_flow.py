"""Attention flow of Abnar & Zuidema (2020): maximum flows through attention with half residual, rows as shares."""

import networkx as nx
import numpy as np
import pytest

import contextmix as cm


def capacities(layer):
    """½ W + ½ I."""
    rows = []
    for i in layer.tokens:
        weights = [sum(layer.alpha[h, i, j] for h in layer.heads) / len(layer.heads) for j in layer.tokens]
        rows.append([(weight + (i == j)) / 2 for j, weight in enumerate(weights)])
    return rows


def longhand(layers):
    """The maximum flow of each pair, by networkx; rows divided by their sums."""
    graph = nx.DiGraph()
    for number, layer in enumerate(layers):
        for i, row in enumerate(capacities(layer)):
            for j, capacity in enumerate(row):
                graph.add_edge((number + 1, i), (number, j), capacity=capacity)
    tokens = layers[0].tokens
    flows = [[nx.maximum_flow_value(graph, (len(layers), i), (0, j)) for j in tokens] for i in tokens]
    return [[flow / sum(row) for flow in row] for row in flows]


def test_it_is_the_flow_through_attention_and_half_residual(bert, ids, layers):
    found = cm.load(bert).explain({"input_ids": ids}, method="attention_flow")
    np.testing.assert_allclose(found.values, longhand(layers), rtol=1e-9)
    assert found.quantity == "share"
    np.testing.assert_allclose(found.values.sum(-1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("query", [0, 4])
def test_the_row_of_one_token_is_its_row_of_the_whole_and_says_how_many_keys_tie(bert, ids, layers, query):
    found = cm.load(bert).explain({"input_ids": ids}, method="attention_flow", query=query)
    np.testing.assert_allclose(found.values, longhand(layers)[query], rtol=1e-9)
    flows = cm.load(bert).explain({"input_ids": ids}, method="attention_flow", query=query, rows="flows").values
    assert found.provenance.notes["saturated"] == np.isclose(flows, 1.0, rtol=1e-12).sum()


def test_flow_is_not_rollout(layers):
    # What the product of the maps would give is far away here, so the tests above see it.
    earlier, later = (np.array(capacities(layer)) for layer in layers)
    assert np.abs(later @ earlier - np.array(longhand(layers))).max() > 0.05
