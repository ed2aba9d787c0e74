"""Maps of shares: rows divided by their sum, and the two places that a residual connection can take in them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import causal_maps, lower_half, stochastic_maps, tensors

from contextmix.maths.shares import half_residual, measured_residual, row_shares, whole_rows


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


@given(stochastic_maps(2, 4, 4), st.sampled_from([torch.bfloat16, torch.float16]))
def test_rows_that_half_precision_rounded_sum_to_one_again(maps, dtype):
    rounded = maps.to(dtype).float()
    found = whole_rows(rounded)
    for h in range(2):
        for i in range(4):
            total = sum(rounded[h, i].tolist())
            assert found[h, i].tolist() == pytest.approx([share / total for share in rounded[h, i].tolist()], rel=1e-6)
            assert sum(found[h, i].tolist()) == pytest.approx(1, abs=4e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_of_which_a_sink_took_a_part_stay_as_they_are(dtype):
    """By design they sum to less: 0.3 of one row, and of the other row so little that it might be rounding."""
    scores = torch.tensor([[[1.0, 0.5, 0.6], [8.0, 0.1, 0.2]]])
    weights = torch.cat([scores, torch.full((1, 2, 1), 0.4)], dim=-1).softmax(-1)[..., :-1].to(dtype).float()
    assert weights.sum(-1)[0, 0] < 0.9
    assert abs(weights.sum(-1)[0, 1] - 1) < 0.01
    assert torch.equal(whole_rows(weights), weights)
    plain = scores.softmax(-1).to(dtype).float()
    both = whole_rows(torch.stack([weights, plain]))  # of a batch, each sequence by itself
    assert torch.equal(both[0], weights)
    assert torch.equal(both[1], whole_rows(plain))


@given(stochastic_maps(2, 4, 4), st.sampled_from([torch.float32, torch.float64]))
def test_what_was_computed_in_full_precision_stays_bit_for_bit(maps, dtype):
    own = maps.to(dtype)
    torch.testing.assert_close(whole_rows(own), own, rtol=1e-7, atol=0)
    off = own * 0.999 + torch.rand(own.shape, generator=torch.Generator().manual_seed(0), dtype=dtype) * 1e-5
    assert torch.equal(whole_rows(off), off)
