"""What leaves each source position for good, on all paths to the rows that are read: one pass up, one pass down.

Going down, every row has a direction g_i, not only the rows that are read: what a change of its stream does to the
score while attention weights, the denominators of norms and the ratio of each activation to its input are held fixed.
A message ⟨g_i, T_ij⟩ that leaves position j's own unit (its word, its sentence) is counted; one inside the unit is not,
it goes on. Of a causal model and units that are neighbours, a path leaves a unit once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from contextmix.maths.evidence import at_heads, spoken_for, through_norm
from contextmix.maths.feedforward import FeedForward, GatedFeedForward
from contextmix.maths.lines import zero_origin_slope
from contextmix.maths.norms import Norm
from contextmix.maths.projections import Affine


@dataclass(frozen=True)
class Down:
    """Directions (..., row, d_model) at some height, and what biases above it have added along them, (..., row)."""

    direction: Tensor
    shift: Tensor

    def through(self, norm: Norm | None, full: Tensor) -> Down:
        """In front of a norm whose true input is ``full``."""
        found, shift = through_norm(self.direction, norm, full)
        return Down(found, self.shift + shift)

    def times(self, scale: float | Tensor) -> Down:
        """In front of a factor."""
        return Down(self.direction * scale, self.shift)

    def before(self, affine: Affine) -> Down:
        """In front of a linear map and its bias."""
        shift = 0 if affine.bias is None else self.direction @ affine.bias.to(self.direction.dtype)
        return Down(self.direction @ affine.weight.mT, self.shift + shift)

    def plus(self, other: Down) -> Down:
        """Both together."""
        return Down(self.direction + other.direction, self.shift + other.shift)


def before_feed_forward(down: Down, ffn: FeedForward | GatedFeedForward, read: Tensor) -> Down:
    """In front of a feed-forward part, each activation replaced by the line through the origin that it meets.

    Args:
        down: Directions at its output.
        ffn: The part; its activation is zero at zero.
        read: Its true input, (row, d_model).

    Source:
        The product of a gate is shared half and half, as in `contextmix.methods.decompx`.
    """
    if isinstance(ffn, FeedForward):
        inner = down.before(Affine(ffn.second, ffn.second_bias))
        slope = zero_origin_slope(ffn.activation, ffn.before_activation(read))
        return inner.times(slope).before(Affine(ffn.first, ffn.first_bias))
    inner, gate, up = down.before(ffn.second), ffn.gate(read), ffn.up(read)
    none = torch.zeros_like(inner.shift)
    through_up = Down(inner.direction * (0.5 * ffn.activation(gate)), none).before(ffn.up)
    slope = zero_origin_slope(ffn.activation, gate)
    through_gate = Down(inner.direction * (0.5 * up * slope), none).before(ffn.gate)
    return through_up.plus(through_gate).plus(Down(torch.zeros_like(through_up.direction), inner.shift))


def messages(
    attention: Tensor,
    value: Tensor,
    weight: Tensor,
    direction: Tensor,
    gate: Tensor | None = None,
    own: slice = slice(None),
) -> tuple[Tensor, Tensor]:
    """What each position sends each row along the row's direction, and the directions at the values.

    Args:
        attention: α, (head, row, key).
        value: (head, key, d_head).
        weight: The output projection, (head, d_head, d_model).
        direction: (..., row, d_model).
        gate: See `contextmix.maths.evidence.at_heads`.
        own: The keys at whose values directions are wanted.

    Returns:
        Σ_h α^h_ij ⟨W^h g_i, v^h_j⟩, (..., row, key); and Σ_i α^h_ij W^h g_i side by side, (..., key, head · d_head).
    """
    found = spoken_for(attention, value, weight, direction, gate)
    at_values = attention[..., own].mT @ at_heads(weight, direction, gate).movedim(0, -3)
    return found, at_values.transpose(-3, -2).flatten(-2)
