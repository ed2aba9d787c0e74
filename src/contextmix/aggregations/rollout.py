"""Rollout: multiply the maps of all layers, so that every path from an input token counts.

R_1 = M_1, R_l = M_l R_{l−1}. Maps are used as they are, no identity is added (the residual is in the map or it is not)
and by default nothing is normalised: so GlobEnc does it. Un-normalised norms grow with depth, hence float64 throughout.
Lengths of derivatives multiply too: by the chain rule, the rollout of `hta` is an upper bound of ‖∂y_i/∂e_j‖_F.
"""

from __future__ import annotations

from torch import Tensor

from contextmix.maths.paths import rollout as product
from contextmix.maths.paths import rollout_row
from contextmix.maths.shares import row_shares
from contextmix.plugins.contracts import Aggregation
from contextmix.plugins.papers import ABNAR_2020
from contextmix.results.token_map import Quantity


def combine(maps: Tensor, *, normalise: bool = False) -> Tensor:
    """The attribution of every token up to every layer.

    Args:
        maps: (layer, query, key), float64, ≥ 0.
        normalise: Divide each row of each map by its sum first. This is another method than GlobEnc's (it re-weights
            intermediate tokens), though some later code does it; rows of the result then sum to one.

    Returns:
        (layer, query, key).

    Source:
        Abnar & Zuidema (2020), eq. 1; Modarressi et al. (2022), eq. 12.
    """
    return product(row_shares(maps) if normalise else maps)


def combine_row(maps: Tensor, query: int, *, normalise: bool = False) -> Tensor:
    """One row of the last layer of `combine`, shape (key,), by vector–matrix products."""
    return rollout_row(row_shares(maps) if normalise else maps, query)


def carry(weights: Tensor, maps: Tensor, *, normalise: bool = False) -> Tensor:
    """Rows (row, query) of what lies above a layer, through some rows of its map (query, key), shape (row, key)."""
    return weights @ (row_shares(maps) if normalise else maps)


AGGREGATION = Aggregation(
    name="rollout",
    title="Rollout",
    combine=combine,
    combine_row=combine_row,
    accepts=frozenset({Quantity.SHARE, Quantity.NORM, Quantity.DISTANCE, Quantity.GRADIENT}),
    formula="R_1 = M_1, R_l = M_l R_{l−1}",
    paper=ABNAR_2020,
    cost="L·n³ in float64; L·n² for one query",
    carry=carry,
)
