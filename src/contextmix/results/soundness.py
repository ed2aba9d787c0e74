"""Whether numbers can be what a result says they are: asked before a file is written and when one is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextmix.results.provenance import Quantity

ROUNDING = 2.0**-8
"""How far rows of shares may be above one. Versions up to 0.1.0 kept the rows of a model in bfloat16 as it had rounded
them, each by up to 2⁻⁹."""
ROUNDING_OF_LAYERS = 2.0**-4
"""The same where layers were multiplied, as each of them was rounded."""
BELOW_ZERO = 1e-5
"""What arithmetic in float32 may leave below zero."""


def fault_of_shares(
    values: NDArray[Any], dims: Sequence[str], quantity: Quantity, *, aggregated: bool = False
) -> str | None:
    """What is wrong with numbers that call themselves shares: one below zero, or a row that sums to more than one.

    Rows may sum to less: others took part, such as a sink, a residual connection, or tokens that are not shown.

    Args:
        values: Finite numbers; their rows lie along the axis ``"key"``, and without it each is a row of its own.
        dims: Names of the axes.
        quantity: What they say they are; nothing is wrong with any other quantity.
        aggregated: Whether layers were multiplied.

    Returns:
        A clause such as ``"row 3 sums to 1.7"``, or None.

    Example:
        >>> fault_of_shares(np.array([0.5, 0.5]), ("key",), Quantity.SHARE)
        >>> fault_of_shares(np.array([0.5, 0.75]), ("key",), Quantity.SHARE)
        'the row sums to 1.25'
    """
    if quantity is not Quantity.SHARE:
        return None
    if (lowest := float(values.min())) < -BELOW_ZERO:
        return f"one of them is {lowest:.4g}"
    has_rows = "key" in dims
    sums = np.asarray(values.sum(axis=list(dims).index("key"), dtype=np.float64) if has_rows else values)
    if float(sums.max()) <= 1 + (ROUNDING_OF_LAYERS if aggregated else ROUNDING):
        return None
    place = np.unravel_index(int(sums.argmax()), sums.shape)
    axes = [axis for axis in dims if axis != "key"]
    at = ", ".join(f"{axis} {int(number)}" for axis, number in zip(axes, place, strict=True))
    told = f"the row at {at}" if at and has_rows else "the row" if has_rows else f"the one at {at}" if at else "it"
    return f"{told} {'sums to' if has_rows else 'is'} {float(sums.max()):.4g}"
