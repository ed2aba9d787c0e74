"""Mean: the average of the maps up to each layer. A baseline; it ignores that layers feed on each other."""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.plugins.contracts import Aggregation
from contextmix.plugins.papers import ABNAR_2020
from contextmix.results.token_map import Quantity


def combine(maps: Tensor) -> Tensor:
    """(layer, query, key) → (layer, query, key): entry l is the mean of layers 0 to l."""
    counts = torch.arange(1, len(maps) + 1, dtype=maps.dtype, device=maps.device)
    return maps.cumsum(0) / counts.reshape(-1, *[1] * (maps.ndim - 1))


def combine_row(maps: Tensor, query: int) -> Tensor:
    """One row of the mean over all layers, shape (key,)."""
    return maps[..., query, :].mean(0)


AGGREGATION = Aggregation(
    name="mean",
    combine=combine,
    combine_row=combine_row,
    accepts=frozenset(Quantity),
    formula="(1/l) Σ_{k≤l} M_k",
    paper=ABNAR_2020,
    cost="L·n²",
    alike=True,
)
