"""Derivatives of norms and activations as matrices, against autograd."""

import pytest
import torch
from hypothesis import given
from tests.strategies import norms, tensors
from torch import nn

from contextmix.maths.derivatives import after_norm, before_norm, slopes
from contextmix.maths.norms import normalise

LEFT = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(norm=norms(3), total=tensors(2, 3))
def test_a_matrix_before_and_behind_a_norm(norm, total):
    derivative = torch.stack([torch.autograd.functional.jacobian(lambda u: normalise(u, norm), row).T for row in total])
    allowed = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(after_norm(LEFT, total, norm), LEFT @ derivative, **allowed)
    right = LEFT.transpose(-1, -2)
    torch.testing.assert_close(before_norm(right, total, norm), derivative @ right, **allowed)


def test_no_norm_changes_nothing():
    assert after_norm(LEFT, LEFT[:, 0], None) is LEFT
    assert before_norm(LEFT, LEFT[:, 0], None) is LEFT


@pytest.mark.parametrize("activation", [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.ReLU(), torch.tanh])
def test_slopes_are_those_of_small_steps(activation):
    states = torch.linspace(-3, 3, 60, dtype=torch.float64).reshape(5, 12)
    step = 1e-6
    with torch.no_grad():
        found = slopes(activation, states)
    wanted = (activation(states + step) - activation(states - step)) / (2 * step)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-8)
    assert not states.requires_grad
