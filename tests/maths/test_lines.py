"""The line that stands in for an activation."""

import math

import pytest
import torch
from hypothesis import given
from tests.strategies import tensors
from torch.nn import functional as F

from contextmix.maths.lines import line, zero_origin_slope

TINY = [0.0, 1e-300, -1e-30, 1e-16, -1e-8, 1e-5, 1e-3]
ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
    "relu": F.relu,
    "mish": F.mish,
    "elu": F.elu,
}
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)


def slope_of(activation, numbers, dtype=torch.float64):
    return zero_origin_slope(activation, torch.tensor(numbers, dtype=dtype)).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_gelu_it_is_the_normal_distribution_function(dtype):
    numbers = [*TINY, -3.0, -0.5, 0.5, 4.0, 30.0]
    wanted = [0.5 * math.erfc(-number / math.sqrt(2)) for number in numbers]
    assert slope_of(F.gelu, numbers, dtype) == pytest.approx(
        wanted, rel=1e-12, abs=0 if dtype is torch.float64 else 3e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_tanh_it_is_the_series_near_zero(dtype):
    wanted = [1 - number**2 / 3 + 2 * number**4 / 15 for number in TINY]
    assert slope_of(torch.tanh, TINY, dtype) == pytest.approx(wanted, rel=1e-13 if dtype is torch.float64 else 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_silu_it_is_the_logistic_function_and_of_relu_a_step(dtype):
    numbers = [-40.0, -1.0, 1e-9, 0.0, 2.0]
    logistic = [1 / (1 + math.exp(-number)) for number in numbers]
    assert slope_of(F.silu, numbers, dtype) == pytest.approx(logistic, rel=1e-6)
    assert slope_of(F.relu, [-1.0, 1e-30, 2.0], dtype) == [0, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_activation
def test_denormal_numbers_have_the_limit_too(activation, dtype):
    smallest = torch.finfo(dtype).smallest_normal
    found = slope_of(activation, [smallest, smallest / 2, smallest * torch.finfo(dtype).eps], dtype)
    assert found == [slope_of(activation, [0.0], dtype)[0]] * 3 or found == slope_of(activation, [1e-20] * 3, dtype)


@pytest.mark.parametrize("rule", ["zero_origin", "tangent"])
@each_activation
@given(states=tensors(3, 4, low=-5, high=5))
def test_the_line_meets_the_activation(activation, rule, states):
    slope, intercept = line(activation, states, rule)
    reached = slope * states if intercept is None else slope * states + intercept
    torch.testing.assert_close(reached, activation(states), rtol=1e-12, atol=1e-14)


def test_a_tangent_touches_and_a_relu_line_is_relus():
    states = torch.tensor([-1.0, 0.5], dtype=torch.float64)
    slope, intercept = line(torch.tanh, states, "tangent")
    torch.testing.assert_close(slope, 1 - torch.tanh(states) ** 2)
    torch.testing.assert_close(intercept, torch.tanh(states) - slope * states)
    slope, intercept = line(torch.tanh, states, "relu")
    assert slope.tolist() == [0, 1]
    assert intercept is None
