"""Mean: the average of the maps up to each layer. A baseline; it ignores that layers feed on each other."""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.errors import BadOption
from contextmix.plugins.contracts import Aggregation
from contextmix.plugins.papers import ABNAR_2020
from contextmix.results.token_map import Quantity


def combine(maps: Tensor, *, last: int | None = None) -> Tensor:
    """(layer, query, key) → (layer, query, key): entry l is the mean of layers 0 to l.

    Args:
        maps: Of all layers.
        last: Only the last so many layers up to l; left out, all of them.
    """
    _refuse(last)
    sums, layers = maps.cumsum(0), torch.arange(1, len(maps) + 1, device=maps.device)
    if last is not None and last < len(maps):
        sums = torch.cat([sums[:last], sums[last:] - sums[:-last]])
        layers = layers.clamp(max=last)
    return sums / layers.to(maps.dtype).reshape(-1, *[1] * (maps.ndim - 1))


def combine_row(maps: Tensor, query: int, *, last: int | None = None) -> Tensor:
    """One row of the mean over all layers, or the last so many, shape (key,)."""
    _refuse(last)
    return maps[-len(maps) if last is None else -last :][..., query, :].mean(0)


def _refuse(last: int | None) -> None:
    if last is not None and last < 1:
        raise BadOption(f"last={last} is a number of layers to average, at least 1; left out, all of them.")


AGGREGATION = Aggregation(
    name="mean",
    title="Mean",
    combine=combine,
    combine_row=combine_row,
    accepts=frozenset(Quantity),
    formula="(1/l) Σ_{k≤l} M_k",
    paper=ABNAR_2020,
    cost="L·n²",
    alike=True,
)
