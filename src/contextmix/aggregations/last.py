"""Last: the map of the layer itself, as if its inputs were still the input tokens. A baseline."""

from __future__ import annotations

from torch import Tensor

from contextmix.plugins.contracts import Aggregation
from contextmix.plugins.papers import ABNAR_2020
from contextmix.results.token_map import Quantity


def combine(maps: Tensor) -> Tensor:
    """(layer, query, key) → the same."""
    return maps


def combine_row(maps: Tensor, query: int) -> Tensor:
    """One row of the last layer's map, shape (key,)."""
    return maps[-1][..., query, :]


AGGREGATION = Aggregation(
    name="last",
    title="Last layer",
    combine=combine,
    combine_row=combine_row,
    accepts=frozenset(Quantity),
    formula="M_l",
    paper=ABNAR_2020,
    cost="nothing",
    alike=True,
)
