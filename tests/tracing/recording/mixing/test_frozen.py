"""Nonlinearities are numbered and have factors; products are those with a parameter."""

import pytest
import torch
from torch import Tensor, nn

from contextmix.tracing.recording.mixing.frozen import Numbering, factor_of, is_parameter

F = nn.functional
X = torch.linspace(-3, 3, 8, dtype=torch.float64).view(2, 4)


@pytest.mark.parametrize("act", [F.silu, F.gelu, F.relu, F.hardswish, F.mish])
def test_a_factor_times_the_input_is_the_activation(act):
    torch.testing.assert_close(X * factor_of(act, (X,), {}), act(X), rtol=0, atol=1e-12)
    assert not factor_of(act, (torch.zeros(3),), {}).any()


def test_norms_are_their_input_times_a_factor():
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    own = F.rms_norm(X, (4,), weight, 1e-3)
    torch.testing.assert_close(X * factor_of(F.rms_norm, (X, (4,), weight, 1e-3), {}), own, rtol=0, atol=1e-12)
    unit = F.normalize(X, dim=-1)
    torch.testing.assert_close(X * factor_of(F.normalize, (X,), {"dim": -1}), unit, rtol=0, atol=1e-12)


class Named(Numbering):
    def __init__(self) -> None:
        super().__init__()
        self.seen_so_far: list[str] = []

    def product(self, number, func, args, kwargs):
        self.seen_so_far.append(f"product {number}")
        return func(*args, **kwargs)

    def convolution(self, func, args, kwargs):
        self.seen_so_far.append("convolution")
        return func(*args, **kwargs)

    def factored(self, number, func, args, kwargs):
        self.seen_so_far.append(f"factored {number}")
        return func(*args, **kwargs)

    def held(self, number, func, args, kwargs):
        self.seen_so_far.append(f"held {number}")
        return func(*args, **kwargs)


def test_what_runs_is_seen_in_order():
    linear, conv = nn.Linear(4, 4), nn.Conv1d(4, 4, 2, groups=4)
    states = torch.randn(1, 3, 4)
    with torch.no_grad(), Named() as mode:
        read = linear(states)
        mixed: Tensor = conv(read.mT).mT
        mixed = F.silu(mixed) * torch.sigmoid(mixed)
        size = mixed.pow(2).mean(-1, keepdim=True)
        mixed = mixed * torch.rsqrt(size) * size.pow(-0.5)
        mixed = mixed @ mixed.mT  # no parameter
        linear.weight[:2] @ states.mT
    assert mode.seen_so_far == [
        *("product 0", "convolution", "factored 0", "held 1"),
        *("held 2", "held 3", "product 1"),
    ]


def test_a_view_of_a_parameter_is_one_and_a_copy_is_none():
    weight = nn.Parameter(torch.ones(2, 3))
    assert is_parameter(weight)
    assert is_parameter(weight[:1].T)
    assert not is_parameter(weight.detach().clone())
    assert not is_parameter(None)
