"""What figures are made of: lines with bands, points, matrices of coloured cells, drawn on matplotlib axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from contextmix.errors import WrongShape, refuse_entries, refuse_kind
from contextmix.views.drawing.colours import background
from contextmix.views.figures.canvas import extent, refuse_axes
from contextmix.views.figures.lettering import line, room_for, say_beside, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's palette, told apart by people who do not see red or green, in the order in which it prints best.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31", "#7F7F7F")
MARKERS = "osD^vP*Xd"


def bands(
    axes: Axes,
    x: Sequence[float],
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    legend: bool = True,
) -> Axes:
    """Lines with a shaded band each, such as means over layers with their confidence intervals.

    Args:
        axes: Where to draw.
        x: Places on the horizontal axis.
        lines: Name → (middle, lower, upper), each as long as ``x``; NaN leaves a gap.
        xlabel: What the horizontal axis is.
        ylabel: What the vertical axis is, with its unit.
        legend: Whether the names stand in the axes; else `names_below` writes them once for several axes.
    """
    refuse_axes("bands: axes", axes)
    refuse_kind("bands: lines", lines, Mapping)
    refuse_kind("bands: legend", legend, bool)
    x = _numbers("x", x).tolist()
    drawn = {name: _lines(name, one, 3, len(x)) for name, one in lines.items()}
    for number, (name, (middle, lower, upper)) in enumerate(drawn.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.plot(x, middle, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=name)
        axes.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if all(float(place).is_integer() for place in x):
        axes.set_xticks(list(x))
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(fontsize="small", frameon=False)
    return axes


def names_below(axes: Axes, columns: int = 4) -> None:
    """The names of the lines of these axes once, below the whole figure."""
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)


def names_above(axes: Axes, columns: int = 3) -> None:
    """The names above the axes, where they cover no point."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize="small", frameon=False)


def scatter(
    axes: Axes,
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
) -> Axes:
    """Points of several groups, the first one quiet, as the crowd that the others are seen against.

    Args:
        axes: Where to draw.
        groups: Name → (x, y), each as many as there are points.
        xlabel: What the horizontal axis is, with its unit.
        ylabel: What the vertical axis is, with its unit.
    """
    refuse_axes("scatter: axes", axes)
    refuse_kind("scatter: groups", groups, Mapping)
    drawn = {name: _lines(name, one, 2) for name, one in groups.items()}
    for number, (name, (x, y)) in enumerate(drawn.items()):
        crowd = number == 0
        axes.scatter(
            x,
            y,
            s=8 if crowd else 26,
            color="#B0B0B0" if crowd else COLOURS[(number - 1) % len(COLOURS)],
            marker="." if crowd else MARKERS[(number - 1) % len(MARKERS)],
            linewidths=0,
            label=f"{name} ({len(x)})",
        )
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    names_above(axes, 2)
    return axes


def heat(
    axes: Axes,
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    signed: bool = False,
    limit: float | None = None,
    bar: str | None = "",
) -> Axes:
    """A matrix as coloured cells: one hue for numbers without sign, two for numbers with sign.

    Args:
        axes: Where to draw.
        values: (row, column); NaN is left empty.
        rows: Labels from top to bottom.
        columns: Labels from left to right.
        signed: Whether numbers have signs; zero is then the middle of the scale.
        limit: The number of the full colour; left out, the largest one.
        bar: What the numbers beside the scale are; None: no scale is drawn.
    """
    refuse_axes("heat: axes", axes)
    refuse_kind("heat: limit", limit, Real, type(None))
    refuse_kind("heat: signed", signed, bool)
    refuse_kind("heat: bar", bar, str, type(None))
    array = _numbers("values", values, axes=2)
    for side, names in (("rows", rows), ("columns", columns)):
        refuse_entries(f"heat: {side}", names, str)
    top = float(np.nanmax(np.abs(array), initial=0.0)) if limit is None else float(limit)
    image = axes.imshow(array, cmap=scale(signed), vmin=-top if signed else 0.0, vmax=top, aspect="auto")
    width, height = extent(axes)
    wide = width - room_for(rows) - (5.5 if bar is not None else 1) * line()
    high = height - room_for(columns) - 4 * line()
    ticks(axes, "x", columns, wide, upright=max(map(len, columns), default=0) <= 2)
    ticks(axes, "y", rows, high)
    if bar is not None:
        say_beside(axes.figure.colorbar(image, ax=axes, pad=0.02), bar, high)
    return axes


def _lines(name: str, values: Any, count: int, length: int | None = None) -> list[np.ndarray[Any, Any]]:
    """So many rows of numbers, each as long as the others."""
    found = _numbers(repr(name)[:60], values, axes=2)
    if len(found) != count or length not in (None, found.shape[1]):
        wanted = f"{count} rows of {'equally many' if length is None else length} numbers"
        raise WrongShape(f"{name!r:.60} needs {wanted}; got shape {found.shape}.")
    return list(found)


def _numbers(what: str, values: Any, axes: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Real numbers, as an array with so many axes."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as reason:
        raise WrongShape(f"A figure needs real numbers, and {what} holds none: {reason}") from reason
    if found.ndim != axes or np.isinf(found).any():
        infinite = ", some of them infinite" if np.isinf(found).any() else ""
        raise WrongShape(
            f"A figure needs finite numbers with {axes} axes (NaN leaves a gap); {what} has the shape {found.shape}"
            f"{infinite}. Give one number per place."
        )
    return found


def scale(signed: bool) -> Any:
    """The colours of every view as a matplotlib colour map: one hue, or two that meet at zero."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = np.linspace(-1.0 if signed else 0.0, 1.0, 33)
    return LinearSegmentedColormap.from_list("contextmix", [background(stop, signed) for stop in stops])


def scale_beside(canvas: Any, panels: Any, said: str) -> None:
    """One scale for all panels, on their right.

    Args:
        canvas: The figure.
        panels: Axes drawn by `heat`, all with the same scale.
        said: What its numbers are.
    """
    beside = canvas.colorbar(panels[0].images[0], ax=list(panels), pad=0.01, aspect=30)
    say_beside(beside, said, 0.6 * canvas.get_figheight())
