"""The best and the worst order in which tokens can go: over all orders, by way of all sets of tokens that are gone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def all_subsets(n: int) -> NDArray[np.bool_]:
    """Every set of n tokens, (2ⁿ, n); token i is in set number j where bit i of j is 1.

    Example:
        >>> all_subsets(2).astype(int).tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.bool_)


def extreme_orders(values: NDArray[np.float64]) -> tuple[float, float]:
    """The smallest and the largest mean, over all orders, of the values of the sets that grow by one token at a time.

    An order is a path through the sets, from none to all. The best path to a set ends with the best path to one of the
    sets that lack one token, so that n! orders need 2ⁿ·n steps.

    Args:
        values: (2ⁿ,), of the sets in the order of `all_subsets`; that of the empty one is not counted.

    Example:
        >>> extreme_orders(np.array([0.0, 3.0, 1.0, 4.0]))  # 1 then 4, or 3 then 4
        (2.5, 3.5)
    """
    n = len(values).bit_length() - 1
    low, high = np.zeros(len(values)), np.zeros(len(values))
    for number in range(1, len(values)):
        before = [number ^ (1 << token) for token in range(n) if number >> token & 1]
        low[number] = values[number] + low[before].min()
        high[number] = values[number] + high[before].max()
    return float(low[-1] / n), float(high[-1] / n)
