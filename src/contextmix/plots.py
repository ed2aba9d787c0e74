"""Figures for papers, by the names that people type: ``contextmix.plots.layers(result, "[CLS]")``.

Every function returns matplotlib's axes, takes the axes to draw on as ``ax``, uses the colours of all other views, and
says on the scale how numbers were divided. Inside ``with contextmix.plots.column("single"):`` figures fit a column of a
paper, and `save` writes them with embedded fonts.
"""

from __future__ import annotations

from contextmix.views.figures.canvas import column, save
from contextmix.views.figures.curves import by_layer, curves
from contextmix.views.figures.dots import dots
from contextmix.views.figures.grid import grid
from contextmix.views.figures.maps import bars, layers, patches, plot, tokens
from contextmix.views.figures.marks import bands, heat, scatter

__all__ = [
    "bands",
    "bars",
    "by_layer",
    "column",
    "curves",
    "dots",
    "grid",
    "heat",
    "layers",
    "patches",
    "plot",
    "save",
    "scatter",
    "tokens",
]
