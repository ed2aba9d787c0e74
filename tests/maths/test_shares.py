"""Maps of shares: rows divided by their sum, and the two places that a residual connection can take in them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import causal_maps, lower_half, stochastic_maps, tensors

from contextmix.maths.shares import half_residual, measured_residual, row_shares


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def longhand_measured(shares: list[list[float]], ratio: list[float]) -> list[list[float]]:
    """GlobEnc, eq. 14 and 15, and our word for what they leave open: a row without others mixes nothing."""
    n = len(shares)
    out = [[0.0] * n for _ in range(n)]
    for i in range(n):
        others = sum(shares[i][k] for k in range(n) if k != i)
        r = ratio[i] if others > 0 else 0.0
        for j in range(n):
            out[i][j] = 1 - r if i == j else (r * shares[i][j] / others if others > 0 else 0.0)
    return out


@given(tensors(2, 3, 4, low=0.0))
def test_row_shares_divides_each_row_by_its_sum_and_leaves_rows_of_zeros(maps):
    wanted = torch.zeros_like(maps)
    for b in range(2):
        for i in range(3):
            for j in range(4):
                total = sum(maps[b, i].tolist())
                wanted[b, i, j] = maps[b, i, j] / total if total > 0 else 0.0
    close(row_shares(maps), wanted)


def test_row_shares_never_divides_zero_by_zero():
    assert torch.isfinite(row_shares(torch.zeros(2, 2))).all()


@given(tensors(3, 3, low=0.0), st.floats(0.01, 100.0))
def test_row_shares_does_not_see_the_unit(maps, factor):
    close(row_shares(maps * factor), row_shares(maps))


@given(stochastic_maps(2, 3, 3))
def test_half_residual_is_half_the_map_and_half_the_identity(maps):
    wanted = torch.zeros_like(maps)
    for b in range(2):
        for i in range(3):
            for j in range(3):
                wanted[b, i, j] = maps[b, i, j] / 2 + (0.5 if i == j else 0.0)
    close(half_residual(maps), wanted)


@given(stochastic_maps(4, 4))
def test_half_residual_is_adding_the_identity_and_dividing_by_the_row_sum(maps):
    close(half_residual(maps), row_shares(maps + torch.eye(4, dtype=torch.float64)))


@given(st.integers(1, 4), st.data())
def test_measured_residual_is_equations_14_and_15_of_globenc(n, data):
    maps, ratio = data.draw(stochastic_maps(n, n)), data.draw(tensors(n, low=0.0, high=1.0))
    close(measured_residual(maps, ratio), tensor(longhand_measured(maps.tolist(), ratio.tolist())))


def test_measured_residual_in_numbers_worked_by_hand():
    maps, ratio = tensor([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0], [0.25, 0.25, 0.5]]), tensor([0.5, 0.2, 0.0])
    close(measured_residual(maps, ratio), tensor([[0.5, 0.3, 0.2], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]]))


@given(causal_maps(2, 3, 3), tensors(2, 3, low=0.0, high=1.0))
def test_rows_of_the_measured_residual_sum_to_one_and_stay_causal(maps, ratio):
    found = measured_residual(maps, ratio)
    close(found.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    assert (found >= 0).all()
    assert torch.equal(lower_half(found), found)
    assert (found[:, 0, 0] == 1).all()  # the first token of a causal model has no other token to draw from


def test_the_measured_residual_of_one_token_is_one_and_not_nan():
    assert measured_residual(tensor([[1.0]]), tensor([0.7])).tolist() == [[1.0]]


def test_a_row_with_all_attention_on_itself_keeps_itself_and_its_neighbours_are_untouched():
    maps, ratio = tensor([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]), tensor([0.9, 0.6, 1e-9])
    found = measured_residual(maps, ratio)
    close(found, tensor([[1.0, 0.0, 0.0], [0.4, 0.4, 0.2], [0.0, 0.0, 1.0]]))


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_ratio_of_zero_keeps_everything_and_a_ratio_of_one_gives_everything_away(ratio):
    maps = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    found = measured_residual(maps, torch.full((3,), ratio, dtype=torch.float64))
    close(found.diagonal(), torch.full((3,), 1 - ratio, dtype=torch.float64))
    close(found.sum(-1), torch.ones(3, dtype=torch.float64))


@given(stochastic_maps(3, 3), tensors(3, low=0.0, high=1.0))
def test_what_goes_in_stays_as_it_was(maps, ratio):
    before = maps.clone(), ratio.clone()
    row_shares(maps), half_residual(maps), measured_residual(maps, ratio)
    assert torch.equal(maps, before[0])
    assert torch.equal(ratio, before[1])
