"""Means with intervals, one panel per measure: who is best, who is level, and where chance lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from contextmix.errors import refuse_kind
from contextmix.views.figures.canvas import refuse_axes
from contextmix.views.figures.marks import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rank = Literal["best", "level", "worse", "chance", "apart"]
"""The best, not significantly worse, worse, a baseline, and what is not compared."""

_LOOKS: dict[Rank, tuple[str, str, bool]] = {  # colour, marker, filled: told apart without colour too
    "best": (COLOURS[0], "D", True),
    "level": (COLOURS[0], "o", True),
    "worse": (COLOURS[8], "o", False),
    "chance": (COLOURS[1], "X", True),
    "apart": (COLOURS[8], "|", False),
}
_NAMES: dict[Rank, str] = {
    "best": "best",
    "level": "not significantly worse than the best",
    "worse": "worse than the best",
    "chance": "a baseline",
    "apart": "not compared",
}


@dataclass(frozen=True)
class Dot:
    """One line of a panel.

    Attributes:
        name: Its label.
        middle: The mean.
        low: Lower bound; None where there is no interval.
        high: Upper bound.
        rank: How it stands to the best.
    """

    name: str
    middle: float
    low: float | None
    high: float | None
    rank: Rank


@dataclass(frozen=True)
class Panel:
    """One measure: its title, and whether more is better (None: neither)."""

    title: str
    dots: Sequence[Dot]
    higher: bool | None


def dots(axes: Axes, panel: Panel) -> Axes:
    """One panel, the best on top; a dashed line shows where each baseline lies.

    Args:
        axes: Where to draw.
        panel: At least one dot.
    """
    refuse_axes("dots: axes", axes)
    refuse_kind("dots: panel", panel, Panel)
    upwards = sorted(panel.dots, key=lambda dot: dot.middle * (-1 if panel.higher is False else 1))
    for place, dot in enumerate(upwards):
        colour, marker, filled = _LOOKS[dot.rank]
        if dot.low is not None and dot.high is not None:
            axes.plot([dot.low, dot.high], [place, place], color=colour, linewidth=1.2, solid_capstyle="butt")
        face = colour if filled else "white"
        axes.plot(dot.middle, place, marker=marker, color=colour, markerfacecolor=face, markersize=4.5, linestyle="")
        if dot.rank == "chance":
            axes.axvline(dot.middle, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(range(len(upwards)), [dot.name for dot in upwards], fontsize=7)
    axes.set_ylim(-0.7, len(upwards) - 0.3)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    arrow = {True: " (more is better →)", False: " (← less is better)", None: ""}[panel.higher]
    axes.set_title(panel.title + arrow, fontsize=8, loc="left")
    axes.grid(axis="x", linewidth=0.4, color="#DDDDDD")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return axes


def dot_panels(canvas: Figure, panels: Sequence[Panel]) -> None:
    """All panels on one figure, with one legend.

    Args:
        canvas: Empty.
        panels: At least one.
    """
    from matplotlib.lines import Line2D

    columns = columns_for(len(panels))
    rows = -(-len(panels) // columns)
    grid = canvas.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < len(panels):
            dots(axes, panels[place])
        else:
            axes.set_visible(False)
    used = [rank for rank in _NAMES if any(dot.rank == rank for panel in panels for dot in panel.dots)]
    lines = []
    for rank in used:
        colour, marker, filled = _LOOKS[rank]
        face = colour if filled else "white"
        lines.append(Line2D([], [], color=colour, marker=marker, markerfacecolor=face, markersize=4.5, linewidth=1.2))
    canvas.legend(
        lines, [_NAMES[rank] for rank in used], loc="outside lower center", ncols=5, fontsize=8, frameon=False
    )


def columns_for(count: int) -> int:
    """How many panels stand side by side."""
    return min(3, count)


def size_for(panels: int, lines: int) -> tuple[float, float]:
    """Width and height in inches for so many panels of so many lines."""
    columns = columns_for(panels)
    return 0.3 + 3.3 * columns, 0.4 + -(-panels // columns) * (0.55 + 0.155 * lines)
