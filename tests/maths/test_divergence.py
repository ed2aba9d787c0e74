"""The Kullback–Leibler divergence, against its sum written out."""

import math

import pytest
import torch
from hypothesis import given
from tests.strategies import tensors

from contextmix.maths.divergence import kl_divergence


@given(tensors(3, 4), tensors(3, 4))
def test_it_is_its_sum_and_never_below_zero(scores, others):
    found = kl_divergence(scores, others)
    for row in range(3):
        p, q = (torch.softmax(one[row], 0).tolist() for one in (scores, others))
        longhand = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert found[row].item() == pytest.approx(longhand, abs=1e-12)
    assert (found >= 0).all()
    assert not kl_divergence(scores, scores).any()


def test_what_cannot_be_said_counts_for_nothing_unless_it_was_said():
    never = torch.tensor([0.0, -torch.inf])
    assert kl_divergence(never, torch.tensor([0.0, 0.0])).item() == pytest.approx(math.log(2))
    assert kl_divergence(never, never).item() == 0
    assert kl_divergence(torch.tensor([0.0, 0.0]), never).item() == math.inf


def test_half_precision_is_added_up_in_float64():
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    exact = kl_divergence(one, other)
    assert exact.dtype is torch.float64
    assert kl_divergence(one.bfloat16(), other.bfloat16()).item() == exact.item()
