"""Flow: how much could stream from a token to each input token, if every map were a layer of pipes?

F_ij is the maximum flow from token i of the last layer to input token j with the maps as capacities, each pair by
itself. Rows are then divided by their sums, as in both published codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Literal

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from contextmix.errors import WrongQuantity
from contextmix.maths.flow import FlowNetwork
from contextmix.maths.shares import row_shares
from contextmix.plugins.contracts import Aggregation, Measured
from contextmix.plugins.papers import ABNAR_2020
from contextmix.results.token_map import Quantity

QUICK = 200
"""So many flows are there before anyone looks for a progress bar."""

Flow = tuple[float, bool]


def combine(maps: Tensor, *, rows: Literal["shares", "flows"] = "shares") -> Measured:
    """The attribution of every token up to every layer: L·n² maximum flows.

    Args:
        maps: (layer, query, key), float64, ≥ 0.
        rows: ``"shares"``: each row of flows divided by its sum. ``"flows"``: as they are, in units of the maps; those
            of shares are no shares.

    Returns:
        (layer, query, key). Noted: ``saturated``, (layer,), for how many pairs the flow is all that the source lets
        out. In one row these are ties: they say that the source is the bottleneck, and no more.

    Raises:
        WrongQuantity: If a number is negative.

    Source:
        Abnar & Zuidema (2020), section 3, who put the residual into the maps; exact, independent for each pair.
        GlobEnc's code adds no residual, rounds capacities to 1e-7 and assumes twelve layers.
    """
    flat = _checked(maps)
    networks = [FlowNetwork(one[: layer + 1]) for layer in range(len(maps)) for one in flat]
    streams = (network.flows(query) for network in networks for query in range(maps.shape[-1]))
    flows, saturated = _gathered(chain.from_iterable(streams), maps, maps.shape, rows)
    return Measured(flows, {"saturated": saturated.sum((-2, -1))})


def combine_row(maps: Tensor, query: int, *, rows: Literal["shares", "flows"] = "shares") -> Measured:
    """One row of the last layer of `combine`, shape (key,), by n maximum flows."""
    streams = (FlowNetwork(one).flows(query) for one in _checked(maps))
    flows, saturated = _gathered(chain.from_iterable(streams), maps, maps[0, ..., 0, :].shape, rows)
    return Measured(flows, {"saturated": saturated.sum(-1)})


def _checked(maps: Tensor) -> Iterable[Tensor]:
    """(layer, query, key) of each batch element."""
    if (maps < 0).any():
        raise WrongQuantity(
            f"flow takes maps as capacities, and no capacity is negative; the smallest number is {maps.min():.3g}. "
            "Use aggregation='mean' or 'last', or another method."
        )
    return maps.flatten(1, -3).unbind(1) if maps.ndim > 3 else [maps]


def _gathered(stream: Iterable[Flow], maps: Tensor, shape: torch.Size, rows: str) -> tuple[Tensor, Tensor]:
    """The flows as they come, as one tensor, and which of them are saturated."""
    count, console = shape.numel(), Console(stderr=True)
    slow = count > QUICK and console.is_interactive
    found = list(track(stream, "maximum flows", total=count, console=console, transient=True, disable=not slow))
    flows = torch.tensor([flow for flow, _ in found], dtype=maps.dtype, device=maps.device).view(shape)
    saturated = torch.tensor([full for _, full in found], device=maps.device).view(shape)
    return (row_shares(flows) if rows == "shares" else flows), saturated


AGGREGATION = Aggregation(
    name="flow",
    title="Flow",
    combine=combine,
    combine_row=combine_row,
    accepts=frozenset({Quantity.SHARE, Quantity.NORM, Quantity.DISTANCE}),
    formula="F_ij = max flow from (L, i) to (0, j), capacities M_l; rows divided by their sums",
    paper=ABNAR_2020,
    cost="n maximum flows on L·n² edges for one query, L·n² of them for all: seconds at n = 32, hours at n = 128",
)
