"""Max: the largest entry of the maps up to each layer. What one layer alone draws from a token is not averaged away.

Of a deep decoder, where a product of maps ends in the first positions, this keeps what single layers show. On facts
among distractors, read by Gemma 3 270M, the largest share over layers names the fact's sentence more often than the
mean does (docs/answers.md).
"""

from __future__ import annotations

from torch import Tensor

from contextmix.plugins.contracts import Aggregation
from contextmix.plugins.papers import ABNAR_2020
from contextmix.results.token_map import Quantity


def combine(maps: Tensor) -> Tensor:
    """(layer, query, key) → (layer, query, key): entry l is the largest of layers 0 to l.

    A row of largest shares may sum to more than one; then it is divided by its sum (`Aggregation.exceeds`).
    """
    return maps.cummax(0).values


def combine_row(maps: Tensor, query: int) -> Tensor:
    """One row of the maximum over all layers, shape (key,)."""
    return maps[..., query, :].amax(0)


AGGREGATION = Aggregation(
    name="max",
    title="Maximum",
    combine=combine,
    combine_row=combine_row,
    accepts=frozenset(Quantity),
    formula="max_{k≤l} M_k",
    paper=ABNAR_2020,
    cost="L·n²",
    exceeds=True,
    alike=True,
)
