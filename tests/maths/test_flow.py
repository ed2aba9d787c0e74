"""Maximum flows: against networkx, against the narrowest of all cuts, and by hand."""

import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import causal_maps, stochastic_maps, tensors

from contextmix.maths import flow as flow_module
from contextmix.maths.flow import FlowNetwork

few = settings(max_examples=40)


def flows(maps: torch.Tensor) -> np.ndarray:
    """All pairs of the last layer."""
    network = FlowNetwork(maps)
    return np.array([[flow for flow, _ in network.flows(query)] for query in range(maps.shape[-1])])


def by_networkx(maps: torch.Tensor) -> np.ndarray:
    """Nodes (layer, token) from the top down to (0, token), one call for each pair, floating-point capacities."""
    n = maps.shape[-1]
    graph = nx.DiGraph()
    for layer, one in enumerate(maps.tolist()):
        for i, j in itertools.product(range(n), repeat=2):
            graph.add_edge((layer + 1, i), (layer, j), capacity=one[i][j])
    top = len(maps)
    return np.array([[nx.maximum_flow_value(graph, (top, i), (0, j)) for j in range(n)] for i in range(n)])


def narrowest_cut(maps: torch.Tensor, query: int, key: int) -> float:
    """The minimum over all ways to divide the tokens between; exponential, for two or three layers."""
    n, between = maps.shape[-1], len(maps) - 1
    smallest = np.inf
    for sides in itertools.product((False, True), repeat=between * n):
        above = [np.arange(n) == query, *np.array(sides).reshape(between, n), np.zeros(n, bool)]
        below = [*above[1:-1], np.arange(n) != key]  # tokens of the input other than the sink lead nowhere
        cut = sum(
            maps.numpy()[len(maps) - 1 - step][np.ix_(above[step], ~np.array(below[step]))].sum()
            for step in range(len(maps))
        )
        smallest = min(smallest, cut)
    return smallest


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from((1e-3, 1.0, 1e4)), st.data())
@few
def test_they_are_those_of_networkx(n_layers, n, size, data):
    maps = size * data.draw(tensors(n_layers, n, n, low=0.0))
    np.testing.assert_allclose(flows(maps), by_networkx(maps), rtol=1e-9, atol=1e-12 * size)


@given(st.integers(2, 3), st.data())
@few
def test_they_are_as_large_as_the_narrowest_cut(n_layers, data):
    maps = data.draw(stochastic_maps(n_layers, 3, 3))
    query, key = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    wanted = narrowest_cut(maps, query, key)
    np.testing.assert_allclose(flows(maps)[query, key], wanted, rtol=1e-12, atol=1e-14)


@given(st.integers(1, 4), st.data())
@few
def test_two_layers_pass_the_narrower_pipe_through_each_token_between(n, data):
    maps = data.draw(tensors(2, n, n, low=0.0)).numpy()
    wanted = np.array([[np.minimum(maps[1, i], maps[0, :, j]).sum() for j in range(n)] for i in range(n)])
    np.testing.assert_allclose(flows(torch.tensor(maps)), wanted, rtol=1e-12, atol=1e-15)


@given(st.integers(1, 5), st.data())
@few
def test_one_layer_is_its_own_capacities(n, data):
    maps = data.draw(tensors(1, n, n, low=0.0))
    assert flows(maps).tolist() == maps[0].tolist()


@given(st.integers(2, 4), st.integers(1, 4), st.data())
@few
def test_no_flow_exceeds_what_leaves_the_source_or_enters_the_sink(n_layers, n, data):
    maps = data.draw(tensors(n_layers, n, n, low=0.0))
    found = flows(maps)
    out, into = maps[-1].sum(-1).numpy(), maps[0].sum(-2).numpy()
    assert (found <= np.minimum(out[:, None], into) * (1 + 1e-12)).all()


@given(st.integers(1, 4), st.data())
@few
def test_wider_pipes_carry_in_proportion(n, data):
    maps = data.draw(stochastic_maps(3, n, n))
    np.testing.assert_allclose(flows(7.5 * maps), 7.5 * flows(maps), rtol=1e-12)


def test_layers_are_passed_from_the_last_to_the_first():
    first, second = torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    first[0], second[2] = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    assert flows(torch.stack([first, second]))[2].tolist() == [0.0, 1.0, 0.0]
    assert flows(torch.stack([second, first]))[2].tolist() == [1.0, 0.0, 0.0]


@given(causal_maps(3, 4, 4))
@few
def test_later_tokens_are_out_of_reach_in_a_causal_model(maps):
    assert (flows(maps)[np.triu_indices(4, 1)] == 0).all()


def test_ties_are_flows_that_take_all_of_the_sources_outflow():
    half = torch.full((3, 2, 2), 0.5, dtype=torch.float64)
    assert list(FlowNetwork(half).flows(0)) == [(1.0, True), (1.0, True)]
    half[0] = torch.tensor([[0.75, 0.125], [0.5, 0.375]])  # into the second input leads less than 1
    assert list(FlowNetwork(half).flows(1)) == [(1.0, True), (0.5, False)]
    assert [tie for _, tie in FlowNetwork(half[:1]).flows(0)] == [False, False]


def test_all_attention_on_one_token():
    maps = torch.zeros(3, 4, 4, dtype=torch.float64)
    maps[..., 1] = 1
    assert flows(maps).tolist() == [[0.0, 1.0, 0.0, 0.0]] * 4
    assert [tie for _, tie in FlowNetwork(maps).flows(0)] == [False, True, False, False]


def test_a_source_without_outflow_reaches_nothing():
    maps = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps[-1, 1] = 0
    assert flows(maps)[1].tolist() == [0.0, 0.0, 0.0]
    assert flows(maps)[0].min() > 0


def test_one_token_passes_its_narrowest_layer():
    maps = torch.tensor([0.9, 0.25, 0.6], dtype=torch.float64).view(3, 1, 1)
    assert flows(maps).tolist() == [[0.25]]
    almost = torch.tensor([1 - 2e-8, 1 - 1e-8, 1.0], dtype=torch.float64).view(3, 1, 1)  # finer than GlobEnc's 1e-7
    assert flows(almost).tolist() == [[1 - 2e-8]]


@pytest.mark.parametrize("largest", [50, 10**4])
def test_the_rounding_to_integers_leaves_no_trace(monkeypatch, largest):
    """With few integers the search still ends at a narrow cut, which is added up as it is."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(4, 6, 6, generator=generator, dtype=torch.float64).softmax(-1)
    exact, reached = by_networkx(maps), []
    for one in (largest, 2**31 - 1):
        monkeypatch.setattr(flow_module, "LARGEST", one)
        reached.append(np.abs(flows(maps) - exact).max())
    assert reached[0] < 6 / largest
    assert reached[1] < 1e-14


def test_numbers_of_very_different_size():
    maps = torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    maps[1] *= 1e12
    maps[2] *= 1e-6
    np.testing.assert_allclose(flows(maps), by_networkx(maps), rtol=1e-6)


@given(tensors(3, 3, 3, low=0.0))
@few
def test_the_maps_stay_as_they_were(maps):
    before = maps.clone()
    flows(maps)
    assert torch.equal(maps, before)
