"""What rounding puts beside a bound lies on it, what is wrong by more stays wrong, and all else keeps its bits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from contextmix.maths.bounds import number_within, within
from contextmix.maths.shares import at_most_one

EPS = 2.0**-52


def as_array(numbers):
    return np.array(numbers)


def as_tensor(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


kinds = pytest.mark.parametrize("made", [as_array, as_tensor])


@kinds
def test_only_what_lies_beside_a_bound_by_no_more_than_the_slack_moves(made):
    numbers = [1 + EPS, 1 + 4 * EPS, 1 + 5 * EPS, 1.5, -EPS, -4 * EPS, -5 * EPS, -0.5]
    found = within(made(numbers), 0, 1, 4 * EPS)
    assert found.tolist() == [1, 1, 1 + 5 * EPS, 1.5, 0, 0, -5 * EPS, -0.5]


@kinds
def test_what_is_no_number_is_not_hidden(made):
    nan, above, below = within(made([math.nan, math.inf, -math.inf]), -1, 1, 4 * EPS).tolist()
    assert math.isnan(nan)
    assert (above, below) == (math.inf, -math.inf)


@kinds
@given(st.lists(st.floats(0, 1), min_size=1))
def test_between_the_bounds_every_bit_stays(made, numbers):
    given_ = made(numbers)
    assert within(given_, 0, 1, 0.25).tolist() == numbers
    assert given_.tolist() == numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_precision_stays(dtype):
    numbers = torch.full((2, 3), 1 + torch.finfo(dtype).eps, dtype=dtype)
    assert torch.equal(within(numbers, 0, 1, 2 * torch.finfo(dtype).eps), torch.ones(2, 3, dtype=dtype))


def test_the_slack_of_one_number_grows_with_what_was_added():
    assert number_within(1 + 9 * EPS, 0, 1, added=1) == 1
    assert number_within(1 + 10 * EPS, 0, 1, added=1) == 1 + 10 * EPS
    assert number_within(-1 - 10 * EPS, -1, 1, added=2) == -1
    assert number_within(-2.0, -1, 1, added=10**6) == -2


@pytest.mark.parametrize(("dtype", "kept"), [(torch.float32, 1.0), (torch.float64, 1 + 1e-7)])
def test_products_of_maps_carry_the_rounding_of_the_precision_that_these_were_measured_in(dtype, kept):
    maps = torch.full((2, 3, 3), 1 / 3, dtype=dtype)
    combined = torch.tensor([1 + 1e-7, 1.01, 0.25], dtype=torch.float64)
    assert at_most_one(combined, maps).tolist() == [kept, 1.01, 0.25]
