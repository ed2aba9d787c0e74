"""Attention flow: how much could stream from a token of the last layer to one input token, if weights were pipes?

The maps of all layers form a network: an edge from token i of layer l to token j of layer l − 1 has the capacity
maps[l, i, j]. The flow of a pair is the maximum flow between its two ends, each pair by itself: nothing is shared
between sinks.

scipy's solver takes 32-bit integers, so capacities are scaled until the whole outflow of the source just fits. The cut
that its solution leaves behind is then added up in float64, so the result carries no trace of the rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import Tensor

LARGEST = 2**31 - 1
"""scipy counts in 32-bit integers."""

Array = np.ndarray[Any, np.dtype[Any]]


class FlowNetwork:
    """The pipes between the first and the last map, which are the same for every pair.

    Args:
        maps: (layer, query, key), ≥ 0, in order of the layers.

    Example:
        >>> import torch
        >>> halves = torch.full((2, 2, 2), 0.5, dtype=torch.float64)
        >>> list(FlowNetwork(halves).flows(0))
        [(1.0, True), (1.0, True)]
    """

    def __init__(self, maps: Tensor) -> None:
        self.maps: Array = maps.detach().cpu().double().numpy()
        n_layers, n, _ = self.maps.shape
        self.sink = (n_layers - 1) * n + 1
        # Nodes: the source, the tokens of each layer from the top down, the sink. So pipes come sorted by their ends,
        # and between layers each token leads to all tokens of the next.
        below = np.arange(1 + n, self.sink).reshape(-1, n).repeat(n, axis=0)
        self.ends = np.concatenate([1 + np.arange(n), below.reshape(-1), np.full(n, self.sink)]).astype(np.int32)
        self.starts = np.cumsum([0, *[n] * (self.sink - n), *[1] * n, 0], dtype=np.int32)
        self.inner = self.maps[1:-1][::-1].reshape(-1)

    def flows(self, query: int) -> Iterator[tuple[float, bool]]:
        """The maximum flow from one token of the last layer to each input token in turn.

        Yields:
            The flow, and whether it is all that the source lets out. Such flows of one query are ties: they say that
            the source is the bottleneck, and no more.
        """
        outlets = self.maps[-1, query]
        outflow = float(outlets.sum())
        if len(self.maps) == 1 or outflow == 0:
            yield from ((float(one), bool(one == outflow)) for one in outlets)
            return
        pipes = np.concatenate([outlets, self.inner])
        whole = _scaled(pipes, outflow)
        for key in range(len(outlets)):
            flow = self._flow(pipes, whole, self.maps[0, :, key], outflow)
            yield flow, flow == outflow

    def _flow(self, pipes: Array, whole: Array, inlets: Array, outflow: float) -> float:
        """One maximum flow, given the pipes into the sink; exactly ``outflow`` if only the source holds it back."""
        whole = np.concatenate([whole, _scaled(inlets, outflow)])
        network = csr_array((whole, self.ends, self.starts), shape=(self.sink + 1, self.sink + 1))
        solved = maximum_flow(network, 0, self.sink, method="dinic")
        if solved.flow_value == whole[: len(inlets)].sum(dtype=np.int64):
            return outflow
        reached = np.zeros(self.sink + 1, bool)
        reached[breadth_first_order(network - solved.flow, 0, return_predecessors=False)] = True
        cut = reached.repeat(np.diff(self.starts)) & ~reached[self.ends]
        return min(outflow, float(np.concatenate([pipes, inlets])[cut].sum()))


def _scaled(capacities: Array, outflow: float) -> Array:
    """As integers: the source's whole outflow becomes `LARGEST`, and no pipe needs to be wider than that."""
    scaled: Array = np.floor(np.minimum(capacities / outflow, 1) * LARGEST).astype(np.int32)
    return scaled
