"""Rollout: the product of maps over layers, later @ earlier, against a sum over every single path."""

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import stochastic_maps, tensors

from contextmix.maths.paths import rollout, rollout_row


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def all_paths(maps: torch.Tensor, start: int, end: int) -> float:
    """From token `start` of the last layer down to input token `end`: the sum over all paths of products of edges."""
    n_layers, n = len(maps), maps.shape[-1]
    total = 0.0
    for between in itertools.product(range(n), repeat=n_layers - 1):
        stops = [start, *between, end]  # from the top down
        total += math.prod(maps[n_layers - 1 - k, stops[k], stops[k + 1]].item() for k in range(n_layers))
    return total


@given(st.integers(1, 4), st.integers(1, 3), st.data())
def test_every_entry_sums_the_products_of_edges_over_all_paths_from_the_top_down(n_layers, n, data):
    maps = data.draw(tensors(n_layers, n, n, low=0.0))
    found = rollout(maps)
    for layer in range(n_layers):
        wanted = [[all_paths(maps[: layer + 1], i, j) for j in range(n)] for i in range(n)]
        close(found[layer], torch.tensor(wanted, dtype=torch.float64))


def test_order_is_later_times_earlier():
    # Layer 1: token 0 reads token 1. Layer 2: token 2 reads token 0. So token 2 leads to token 1, and to nothing else.
    first, second = torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    first[0], second[2] = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    found = rollout(torch.stack([first, second]))[-1]
    assert found[2].tolist() == [0.0, 1.0, 0.0]
    assert rollout_row(torch.stack([first, second]), 2).tolist() == [0.0, 1.0, 0.0]
    assert rollout(torch.stack([second, first]))[-1][2].tolist() == [1.0, 0.0, 0.0]


@given(st.integers(1, 5), st.integers(1, 4))
def test_identity_maps_give_the_identity(n_layers, n):
    identities = torch.eye(n, dtype=torch.float64).expand(n_layers, n, n)
    assert torch.equal(rollout(identities), identities)


@given(st.lists(st.permutations(range(4)), min_size=1, max_size=4))
def test_permutation_maps_compose(permutations):
    maps = torch.stack([torch.eye(4, dtype=torch.float64)[list(reads)] for reads in permutations])  # i reads reads[i]
    for start in range(4):
        stop = start
        for reads in reversed(permutations):
            stop = reads[stop]
        assert rollout(maps)[-1, start].argmax() == stop
        assert rollout(maps)[-1].sum() == 4


@given(tensors(4, 3, 3))
def test_rollout_is_associative_so_halves_of_a_model_can_be_joined(maps):
    joined = torch.stack([rollout(maps[:2])[-1], rollout(maps[2:])[-1]])
    torch.testing.assert_close(rollout(joined)[-1], rollout(maps)[-1], rtol=1e-9, atol=1e-9)


@given(stochastic_maps(3, 2, 4, 4))
def test_rows_that_sum_to_one_still_do(maps):
    close(rollout(maps).sum(-1), torch.ones(3, 2, 4, dtype=torch.float64))


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_rollout_row_is_a_row_of_the_last_rollout(n_layers, n, data):
    maps, query = data.draw(tensors(n_layers, 2, n, n)), data.draw(st.integers(-n, n - 1))
    torch.testing.assert_close(rollout_row(maps, query), rollout(maps)[-1][:, query], rtol=1e-9, atol=1e-9)


@given(tensors(3, 2, 3, 3))
def test_leading_axes_are_separate_products(maps):
    each = torch.stack([rollout(maps[:, b]) for b in range(2)], dim=1)
    torch.testing.assert_close(rollout(maps), each, rtol=1e-12, atol=1e-12)


@given(tensors(3, 2, 2))
def test_the_maps_stay_as_they_were(maps):
    before = maps.clone()
    rollout(maps), rollout_row(maps, 0)
    assert torch.equal(maps, before)
