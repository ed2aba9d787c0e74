"""Several heat maps side by side, such as one per method over layers and heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from contextmix.views.figures.marks import heat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 2
"""Panels in a line, where there are more than three."""


@dataclass(frozen=True)
class Panel:
    """One heat map.

    Attributes:
        title: Above it.
        values: (row, column); NaN is left empty.
        signed: Whether numbers have signs.
        scale: Panels of one name share the number of the full colour.
    """

    title: str
    values: Any
    signed: bool = False
    scale: str = ""


def panels(
    canvas: Figure, shown: Sequence[Panel], rows: Sequence[str], columns: Sequence[str], *, ylabel: str, xlabel: str
) -> None:
    """Draw heat maps of the same rows and columns on an empty figure.

    Args:
        canvas: The figure.
        shown: The maps; up to three stand in a line.
        rows: Labels from top to bottom.
        columns: Labels from left to right.
        ylabel: What the rows are.
        xlabel: What the columns are.
    """
    across = len(shown) if len(shown) <= 3 else ACROSS
    grid = canvas.subplots(-(-len(shown) // across), across, squeeze=False, sharex=True, sharey=True)
    tops: dict[str, float] = {}
    for one in shown:
        top = float(np.nanmax(np.abs(np.asarray(one.values, dtype=np.float64))))
        tops[one.scale] = max(tops.get(one.scale, 0.0), top)
    for place, axes in enumerate(grid.flat):
        if place >= len(shown):
            axes.remove()
            continue
        one = shown[place]
        # Where all is zero any scale will do but an empty one.
        heat(axes, one.values, rows, columns, signed=one.signed, limit=tops[one.scale] or 1.0)
        axes.set_title(one.title, fontsize="medium")
        if place % across == 0:
            axes.set_ylabel(ylabel)
        if place + across >= len(shown):
            axes.set_xlabel(xlabel)
