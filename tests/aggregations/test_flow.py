"""Attention flow across layers (Abnar & Zuidema 2020): which rows and pairs, how they are divided, what is noted."""

import io

import networkx as nx
import numpy as np
import pytest
import torch
from rich.console import Console

import contextmix as cm
from contextmix.aggregations import flow as module
from contextmix.errors import BadOption, WrongQuantity
from contextmix.plugins.plan import AGGREGATIONS
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens

FLOW = AGGREGATIONS["flow"]
MAPS = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64).mul(4).softmax(-1)


def longhand(maps):
    """Entry l: the maximum flow from each token after layer l to each input token."""
    found, graph, n = [], nx.DiGraph(), maps.shape[-1]
    for layer, one in enumerate(maps.tolist()):
        for i in range(n):
            for j in range(n):
                graph.add_edge(f"{layer + 1}:{i}", f"{layer}:{j}", capacity=one[i][j])
        ends = [[(f"{layer + 1}:{i}", f"0:{j}") for j in range(n)] for i in range(n)]
        found.append([[nx.maximum_flow_value(graph, *pair) for pair in row] for row in ends])
    return np.array(found)


def test_every_layer_looks_back_to_the_input():
    flows = longhand(MAPS)
    np.testing.assert_allclose(FLOW.combine(MAPS, rows="flows").values, flows, rtol=1e-12)
    np.testing.assert_allclose(FLOW.combine(MAPS).values, flows / flows.sum(-1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("query", [0, 3, -1])
def test_one_row_is_that_row_of_the_last_layer(query):
    flows = longhand(MAPS)[-1, query]
    np.testing.assert_allclose(FLOW.combine_row(MAPS, query, rows="flows").values, flows, rtol=1e-12)
    np.testing.assert_allclose(FLOW.combine_row(MAPS, query).values, flows / flows.sum(), rtol=1e-12)


def test_flows_of_shares_are_no_shares():
    assert (FLOW.combine(MAPS, rows="flows").values[-1].sum(-1) > 1.5).all()


def test_pairs_that_take_all_of_the_sources_outflow_are_counted():
    flows, outflows = longhand(MAPS), MAPS.sum(-1, keepdim=True).numpy()
    full = np.isclose(flows, outflows, rtol=1e-12)
    found = FLOW.combine(MAPS)
    assert found.notes["saturated"].tolist() == full.sum((1, 2)).tolist()
    assert 0 < found.notes["saturated"][-1] < 16
    for query in range(4):
        assert FLOW.combine_row(MAPS, query).notes["saturated"] == full[-1, query].sum()


def test_axes_between_layer_and_query_have_their_own_counts():
    maps = torch.stack([MAPS, MAPS.flip(0)], dim=1)
    found = FLOW.combine(maps)
    assert found.notes["saturated"].shape == (3, 2)
    assert found.notes["saturated"][:, 1].tolist() == FLOW.combine(MAPS.flip(0)).notes["saturated"].tolist()
    assert FLOW.combine_row(maps, 1).notes["saturated"].shape == (2,)


def token_map(values, quantity=Quantity.SHARE):
    return TokenMap(values, ("layer", "query", "key"), Tokens(tuple("abcd")), quantity, Provenance("toy", model="toy"))


def test_the_result_says_how_many_pairs_are_saturated():
    found = cm.aggregate(token_map(MAPS.numpy()), "flow")
    assert found.provenance.notes["saturated"] == FLOW.combine(MAPS).notes["saturated"].tolist()
    row = cm.aggregate(token_map(MAPS.numpy()), "flow", query="b")
    assert row.provenance.notes["saturated"] == FLOW.combine_row(MAPS, 1).notes["saturated"].item()


def test_a_negative_capacity_is_refused():
    negative = MAPS.clone()
    negative[1, 2, 0] = -0.125
    for ask in (lambda: FLOW.combine(negative), lambda: FLOW.combine_row(negative, 0)):
        with pytest.raises(WrongQuantity, match=r"no capacity is negative; the smallest number is -0\.125"):
            ask()
    for quantity in (Quantity.SIGNED, Quantity.GRADIENT):
        with pytest.raises(WrongQuantity, match="flow combines distance, norm, share"):
            cm.aggregate(token_map(MAPS.numpy(), quantity), "flow")


def test_an_unknown_way_to_show_rows_is_refused():
    with pytest.raises(BadOption, match="'shares' or 'flows'"):
        cm.aggregate(token_map(MAPS.numpy()), "flow", rows="sums")


def test_a_layer_of_zeros_gives_rows_of_zeros():
    maps = MAPS.clone()
    maps[1] = 0
    assert FLOW.combine(maps).values[1:].abs().max() == 0


@pytest.mark.parametrize(("quick", "terminal", "shown"), [(4, True, True), (4, False, False), (200, True, False)])
def test_a_progress_bar_is_shown_where_it_takes_long_and_someone_looks(monkeypatch, quick, terminal, shown):
    screen = io.StringIO()
    monkeypatch.setattr(module, "QUICK", quick)
    monkeypatch.setattr(module, "Console", lambda stderr: Console(file=screen, force_terminal=terminal, width=60))
    FLOW.combine(MAPS)
    assert ("maximum flows" in screen.getvalue()) == shown
