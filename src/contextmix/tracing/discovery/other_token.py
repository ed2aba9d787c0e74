"""One token of the states changed: what moves at the others has mixed tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.tracing.recording.verify import close


def with_other_token(states: Tensor) -> tuple[int, Tensor]:
    """A token in the middle, as what mixes neighbours has some on both sides there, and the states with it changed.

    Args:
        states: (..., token, d_model).
    """
    token, changed = states.shape[-2] // 2, states.clone()
    changed[..., token, :] += torch.linspace(-1, 1, changed.shape[-1]).to(changed) * changed.std()
    return token, changed


def same_elsewhere(found: Tensor, own: Tensor, token: int, allowed: float) -> bool:
    """Whether all tokens but one have the same numbers in two tensors (..., token, channel) of one shape."""
    others = torch.arange(own.shape[-2], device=own.device) != token
    return close(found[..., others, :], own[..., others, :], allowed)
