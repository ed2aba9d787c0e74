"""From the places of an image in a text to the tokens of the tower that read it.

    R'_it = Σ_p R_ip Σ_s B_ps T_st / Σ_u T_su

R is what a text draws from its places, B says of which tokens s of the tower a place p is made, T are the tower's
rolled-out maps. Rows sum to what they summed to before over the places, whatever the unit and the sign of R.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from contextmix.maths.shares import row_shares


def through_tower(rows: Tensor, made_of: Tensor, tiles: Sequence[Tensor]) -> Tensor:
    """What rows draw from the tokens of a tower, as they entered it.

    Args:
        rows: (..., place).
        made_of: (place, token), rows sum to one, or to zero for what is no place of an image.
        tiles: The rolled-out maps (token, token) of all tiles, ≥ 0; their tokens follow each other.

    Returns:
        (..., token), in float64.

    Example:
        >>> tower = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
        >>> through_tower(torch.tensor([4.0]), torch.tensor([[0.5, 0.5]]), [tower])
        tensor([1.5000, 2.5000], dtype=torch.float64)
    """
    shares = [row_shares(tile.double()) for tile in tiles]
    reached = torch.split(rows.double() @ made_of.double(), [len(tile) for tile in shares], dim=-1)
    return torch.cat([own @ tile for own, tile in zip(reached, shares, strict=True)], -1)
