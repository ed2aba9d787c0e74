"""The usual activations, for those that stand between two modules as a plain function call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


def identity(states: Tensor) -> Tensor:
    """No activation."""
    return states


def gelu_tanh(states: Tensor) -> Tensor:
    """GELU in its tanh form."""
    return nn.functional.gelu(states, approximate="tanh")


ACTIVATIONS: tuple[Activation, ...] = (
    identity,
    torch.tanh,
    torch.relu,
    nn.functional.gelu,
    gelu_tanh,
    nn.functional.silu,
)
"""What may stand between two linear maps without being a module."""
