"""Figures for papers, by the names that people type: ``contextmix.plots.layers(result, "[CLS]")``.

Every function returns matplotlib's axes, takes the axes to draw on as ``ax``, uses the colours of all other views, and
says on the scale how numbers were divided. Inside ``with contextmix.plots.column("single"):`` figures fit a column of a
paper, and `save` writes them with embedded fonts.
"""

from __future__ import annotations

from contextmix.views.canvas import column, save
from contextmix.views.dots import dots
from contextmix.views.plots import bands, heat, scatter
from contextmix.views.plots_curves import by_layer, curves
from contextmix.views.plots_grid import grid
from contextmix.views.plots_maps import bars, layers, patches, plot, tokens

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
