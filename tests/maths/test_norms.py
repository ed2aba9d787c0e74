"""LayerNorm and RMSNorm, written out with loops and numbers, and the algebra that the decomposition rests on."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import norms, tensors

from contextmix.maths.norms import Norm, denominator, linear, normalise

KINDS = ("layer", "rms")
ROWS = torch.randn(4, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3 + 1
WEIGHT, BIAS = torch.linspace(-1, 2, 7, dtype=torch.float64), torch.linspace(3, -2, 7, dtype=torch.float64)


def close(found, wanted):
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=torch.float64), rtol=1e-10, atol=1e-12)


def longhand(row: list[float], kind: str, weight: list[float], bias: list[float], eps: float) -> list[float]:
    """Kobayashi et al. (2021), with eps where the authors' code has it."""
    d = len(row)
    centre = sum(row) / d if kind == "layer" else 0.0
    spread = sum((number - centre) ** 2 for number in row) / d
    return [(row[k] - centre) / math.sqrt(spread + eps) * weight[k] + bias[k] for k in range(d)]


@pytest.mark.parametrize("eps", [0.0, 1e-12, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_normalise_is_the_formula_number_by_number(kind, eps):
    wanted = [longhand(row, kind, WEIGHT.tolist(), BIAS.tolist(), eps) for row in ROWS.tolist()]
    close(normalise(ROWS, Norm(kind, WEIGHT, BIAS, eps)), wanted)


@pytest.mark.parametrize(("kind", "module"), [("layer", torch.nn.LayerNorm), ("rms", torch.nn.RMSNorm)])
def test_normalise_is_what_torch_computes(kind, module):
    theirs = module(7, eps=0.3, dtype=torch.float64)
    theirs.weight.data = WEIGHT.clone()
    if kind == "layer":
        theirs.bias.data = BIAS.clone()
    ours = Norm(kind, WEIGHT, BIAS if kind == "layer" else None, eps=0.3)
    close(normalise(ROWS, ours), theirs(ROWS).detach())


def test_denominator_divides_the_squares_by_d_and_adds_eps_under_the_root():
    row = torch.tensor([1.0, 3.0], dtype=torch.float64)
    close(denominator(row, Norm("layer", None, None, eps=3.0)), [2.0])  # sqrt(((1-2)² + (3-2)²)/2 + 3)
    close(denominator(row, Norm("rms", None, None, eps=4.0)), [3.0])  # sqrt((1² + 3²)/2 + 4)


def test_linear_subtracts_from_each_vector_its_own_mean_and_only_in_a_layer_norm():
    parts = torch.tensor([[1.0, 3.0], [10.0, 20.0]], dtype=torch.float64)
    weight = torch.tensor([2.0, 5.0], dtype=torch.float64)
    bias = torch.tensor([100.0, 100.0], dtype=torch.float64)
    close(linear(parts, Norm("layer", weight, bias, 0.0)), [[-2.0, 5.0], [-10.0, 25.0]])
    close(linear(parts, Norm("rms", weight, bias, 0.0)), [[2.0, 15.0], [20.0, 100.0]])


@pytest.mark.parametrize("kind", KINDS)
def test_no_weight_means_ones_and_no_bias_means_zeros(kind):
    full = Norm(kind, torch.ones(7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64), 0.1)
    close(normalise(ROWS, Norm(kind, None, None, 0.1)), normalise(ROWS, full))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_zeros_gives_the_bias(kind):
    zero = torch.zeros(7, dtype=torch.float64)
    close(normalise(zero, Norm(kind, WEIGHT, BIAS, 1e-5)), BIAS)


@given(st.data(), st.integers(1, 5))
def test_the_norm_of_a_sum_is_the_sum_of_its_pushed_parts_with_the_denominator_frozen(data, n_parts):
    norm, parts = data.draw(norms(4)), data.draw(tensors(n_parts, 4))
    whole = parts.sum(0)
    pushed = linear(parts, norm) / denominator(whole, norm)
    bias = 0 if norm.bias is None else norm.bias
    torch.testing.assert_close(pushed.sum(0) + bias, normalise(whole, norm), rtol=1e-9, atol=1e-9)


@given(st.data())
def test_pushing_the_rows_of_a_matrix_is_pushing_what_the_matrix_makes(data):
    norm, vectors, matrix = data.draw(norms(4)), data.draw(tensors(3, 2)), data.draw(tensors(2, 4))
    torch.testing.assert_close(vectors @ linear(matrix, norm), linear(vectors @ matrix, norm), rtol=1e-9, atol=1e-9)


@given(st.data())
def test_rows_are_normalised_one_by_one_whatever_the_leading_axes(data):
    norm, rows = data.draw(norms(3)), data.draw(tensors(2, 2, 3))
    each = torch.stack([torch.stack([normalise(row, norm) for row in batch]) for batch in rows])
    torch.testing.assert_close(normalise(rows, norm), each, rtol=1e-12, atol=1e-12)
    assert denominator(rows, norm).shape == (2, 2, 1)
    assert (denominator(rows, norm) > 0).all()
