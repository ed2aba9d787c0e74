"""A figure for a paper: what ``result.plot()`` draws."""

from __future__ import annotations

from typing import Any

from contextmix.results.token_map import TokenMap
from contextmix.views.figures.canvas import KINDS, encoded, root
from contextmix.views.figures.maps import plot
from contextmix.views.saving import Saved


def figure_of(token_map: TokenMap, ending: str, _: Any) -> bytes:
    """The figure that fits the axes of a map."""
    from matplotlib import pyplot

    figure = root(plot(token_map))
    try:
        return encoded(figure, ending)
    finally:
        pyplot.close(figure)


SAVED = Saved(endings=KINDS, encode=figure_of)
