"""The joint rollout of an encoder–decoder: which source tokens, and which tokens read so far, made each decoder state?

One decoder layer draws on the encoder's output with A (target, source) and on its own states with B (target, target).
With E the encoder's attribution of its output to the source tokens,

    R_src,0 = 0,   R_tgt,0 = I,    R_src,l = B_l R_src,l−1 + A_l E,    R_tgt,l = B_l R_tgt,l−1

and the rows of [R_src,l | R_tgt,l] are divided by their sums after each layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.maths.shares import row_shares


def through_residual(own: Tensor, cross: Tensor) -> Tensor:
    """Two steps, one after the other: A = C_cross without its last column ρ, B = diag(ρ) C_own.

    Args:
        own: (target, target): shares of self-attention and the residual around it, C_own.
        cross: (target, source + 1): shares of cross-attention, the last for what self-attention left, C_cross.

    Returns:
        [A | B], (target, source + target); rows sum to one where those of both maps do.

    Source:
        Ferrando et al. (2022), "Towards Opening the Black Box of Neural Machine Translation" (ALTI+), section 3.
    """
    return torch.cat([cross[..., :-1], cross[..., -1:] * own], dim=-1)


def side_by_side(own: Tensor, cross: Tensor) -> Tensor:
    """Two maps of the same output: [A | B] = [C_cross | C_own], (target, source + target), to be divided by row."""
    return torch.cat([cross, own], dim=-1)


def joint_rollout(encoder: Tensor, layers: Tensor) -> Tensor:
    """The recursion above.

    Args:
        encoder: (source, source): E, rows sum to one.
        layers: (layer, target, source + target): [A_l | B_l] of each decoder layer, ≥ 0.

    Returns:
        (layer, target, source + target): entry l is the attribution up to layer l. Rows sum to one, or stay zero where
        no layer draws on anything.

    Source:
        ALTI+, as the authors' code has it, with the division after each layer.
    """
    n_source, n_target = len(encoder), layers.shape[-2]
    target = torch.eye(n_target, dtype=encoder.dtype, device=encoder.device)
    reached = torch.cat([encoder.new_zeros(n_target, n_source), target], dim=-1)
    found = []
    for layer in layers.unbind(0):
        step = layer[..., n_source:] @ reached
        step[..., :n_source] += layer[..., :n_source] @ encoder
        reached = row_shares(step)
        found.append(reached)
    return torch.stack(found)
