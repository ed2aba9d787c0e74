"""Products of maps over layers: the weight of all paths from an input token to a token of a layer."""

from __future__ import annotations

import torch
from torch import Tensor


def rollout(maps: Tensor) -> Tensor:
    """R_1 = M_1, R_l = M_l R_{l−1}: the sum over all paths of the product of their edges.

    Args:
        maps: (layer, ..., query, key).

    Returns:
        (layer, ..., query, key): entry l leads from the input to layer l.

    Example:
        >>> halves = torch.full((2, 2, 2), 0.5)
        >>> rollout(halves)[1]
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    paths = [maps[0]]
    for layer in maps[1:]:
        paths.append(layer @ paths[-1])
    return torch.stack(paths)


def rollout_row(maps: Tensor, query: int) -> Tensor:
    """One row of the last layer's `rollout`, by vector–matrix products from the top: L·n² work instead of L·n³.

    Args:
        maps: (layer, ..., query, key).
        query: Position of the row.

    Returns:
        (..., key).
    """
    row = maps[-1][..., query, :]
    for layer in reversed(maps[:-1].unbind(0)):
        row = (row.unsqueeze(-2) @ layer).squeeze(-2)
    return row
