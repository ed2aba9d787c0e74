"""A bias shared out over the parts of a sum, by each of DecompX's rules."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import tensors

from contextmix.maths.biases import add_bias_, assign_bias, bias_shares

RULES = ["absdot", "abssim", "norm", "equal", "cls"]
each_rule = pytest.mark.parametrize("rule", RULES)


def longhand(parts: list[list[float]], bias: list[float], rule: str) -> list[float]:
    """The share of each part of one row, from the authors' code."""
    dots = [abs(sum(number * b for number, b in zip(part, bias, strict=True))) for part in parts]
    lengths = [math.sqrt(sum(number**2 for number in part)) for part in parts]
    own = math.sqrt(sum(b**2 for b in bias))
    weights = {
        "absdot": dots,
        "abssim": [dot / length / own if length else 0.0 for dot, length in zip(dots, lengths, strict=True)],
        "norm": lengths,
        "equal": [float(length > 0) for length in lengths],
        "cls": [1.0] + [0.0] * (len(parts) - 1),
    }[rule]
    return [weight / sum(weights) for weight in weights]


@each_rule
def test_shares_are_the_formula_number_by_number(rule):
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    parts[2, 1] = 0
    biases = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    wanted = [longhand(parts[:, i].tolist(), biases[i].tolist(), rule) for i in range(3)]
    torch.testing.assert_close(bias_shares(parts, biases, rule), torch.tensor(wanted, dtype=torch.float64).T)
    same = [longhand(parts[:, i].tolist(), biases[0].tolist(), rule) for i in range(3)]
    torch.testing.assert_close(bias_shares(parts, biases[0], rule), torch.tensor(same, dtype=torch.float64).T)


@each_rule
@given(drawn=st.data())
def test_the_sum_of_the_parts_grows_by_the_bias_whatever_they_are(rule, drawn):
    parts, bias = drawn.draw(tensors(3, 2, 4)), drawn.draw(tensors(4) | tensors(2, 4))
    before = parts.clone()
    found = assign_bias(parts, bias, rule)
    torch.testing.assert_close(found.sum(0), parts.sum(0) + bias, rtol=0, atol=1e-12)
    assert torch.equal(parts, before)
    assert torch.equal(add_bias_(parts, bias, rule), found)
    assert torch.equal(parts, found)


@each_rule
@given(drawn=st.data())
def test_shares_are_shares(rule, drawn):
    shares = bias_shares(drawn.draw(tensors(3, 2, 4)), drawn.draw(tensors(4)), rule)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(0), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_bias_that_the_rule_gives_to_nobody_is_not_lost():
    parts = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]])
    assert bias_shares(parts, torch.tensor([0.0, 5.0]), "absdot").tolist() == [[0.5], [0.5]]


def test_no_rule_or_no_bias_changes_nothing():
    parts = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(assign_bias(parts, torch.ones(3), "none"), parts)
    assert torch.equal(assign_bias(parts, None, "absdot"), parts)
