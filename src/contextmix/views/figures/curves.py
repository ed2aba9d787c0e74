"""Figures of many examples: a number by layer, and curves of tokens taken away, as means with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contextmix.errors import BadOption, WrongShape, refuse_entries, refuse_kind
from contextmix.plugins.contracts import Scored
from contextmix.statistics.summaries import Outcomes, interval, summarise
from contextmix.views.figures.canvas import axes_or_new, pyplot
from contextmix.views.figures.marks import bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 1999
"""Of the bootstrap: a band is drawn, not tested; the third digit of its edge is not seen."""


def by_layer(
    values: Mapping[str, Any],
    *,
    ylabel: str = "Spearman's ρ",
    layers: Sequence[int] | None = None,
    confidence: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """A number by layer, such as the correlation with a reference: means over examples with bootstrap bands.

    Args:
        values: Name → (example, layer); None or NaN where it is not defined for an example.
        ylabel: What the numbers are.
        layers: Numbers of the layers; left out, from 0.
        confidence: Of the bands, between 0 and 1. Below ten examples there is no band.
        ax: Where to draw; left out, on a new figure.

    Raises:
        WrongShape: If an array has other axes, or another number of layers than the others.
        BadOption: If there is nothing to draw, or the confidence is not between 0 and 1.
        NotFinite: If a value is infinite.

    Example:
        >>> import contextmix as cm
        >>> axes = cm.plots.by_layer({"globenc": [[0.1, 0.5], [0.3, 0.7]]})
        >>> axes.lines[0].get_ydata().tolist()
        [0.2, 0.6]
    """
    refuse_kind("by_layer: values", values, Mapping)
    tables = {name: _table(name, one) for name, one in values.items()}
    lengths = {name: table.shape[1] for name, table in tables.items()}
    if len(set(lengths.values())) > 1:
        raise WrongShape(f"Lines over layers need as many layers each, and these have {lengths}.")
    lines = {name: _band(list(table.T), confidence) for name, table in tables.items()}
    count = next(iter(lengths.values()), 0)
    places = list(range(count)) if layers is None else list(layers)
    if len(places) != count:
        raise WrongShape(f"{len(places)} layer numbers do not match {count} layers.")
    return _drawn(places, lines, "layer", ylabel, ax)


def curves(
    outcomes: Mapping[str, Sequence[Scored]],
    *,
    ylabel: str = "drop of p(ŷ)",
    confidence: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Curves of AOPC and the other metrics that take tokens away step by step: means over examples with bands.

    Args:
        outcomes: Name → what the metric says of each example, such as
            ``{method: found for (metric, method), found in run.outcomes().items() if metric == "aopc"}``. Examples for
            which it is not defined are left out.
        ylabel: What is measured at each step.
        confidence: Of the bands, between 0 and 1. Below ten examples there is no band.
        ax: Where to draw; left out, on a new figure.

    Raises:
        BadOption: If no example has a curve, or the confidence is not between 0 and 1.
        WrongShape: If steps differ between examples.

    Example:
        >>> import contextmix as cm
        >>> from contextmix.plugins.contracts import Scored
        >>> result = [Scored(0.2, curve={"10%": 0.1, "50%": 0.3}), Scored(0.4, curve={"10%": 0.3, "50%": 0.5})]
        >>> axes = cm.plots.curves({"globenc": result})
        >>> axes.lines[0].get_xdata().tolist(), axes.lines[0].get_ydata().tolist()
        ([10.0, 50.0], [0.2, 0.4])
    """
    refuse_kind("curves: outcomes", outcomes, Mapping)
    for name, each in outcomes.items():
        refuse_entries(f"curves: {name!s:.40}", each, Scored)
    own = {name: [one.curve for one in each if one.curve] for name, each in outcomes.items()}
    steps = {tuple(curve) for each in own.values() for curve in each}
    empty = [name for name, each in own.items() if not each]
    if empty or not steps:
        raise BadOption(
            f"No example of {', '.join(map(repr, empty)) or 'anything'} has a curve. Metrics that take tokens away "
            "step by step give one: aopc, accuracy_curve, log_odds."
        )
    if len(steps) > 1:
        raise WrongShape(f"Curves with other steps have no mean: {' and '.join(map(str, sorted(steps)[:2]))}.")
    names = steps.pop()
    lines = {name: _band([[one[step] for one in each] for step in names], confidence) for name, each in own.items()}
    percent = all(name.endswith("%") for name in names)
    places = [float(name.removesuffix("%")) for name in names]
    return _drawn(places, lines, "tokens taken away (%)" if percent else "step", ylabel, ax)


def _table(name: str, values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        found = np.array([[np.nan if cell is None else cell for cell in row] for row in values], dtype=np.float64)
    except (TypeError, ValueError) as reason:
        raise WrongShape(f"Values of {name!r} are no table of numbers, (example, layer): {reason}") from reason
    if found.ndim != 2 or not found.size:
        raise WrongShape(f"Values of {name!r} need the axes (example, layer), and theirs are {found.shape}.")
    return found


def _band(columns: Sequence[Any], confidence: float) -> tuple[list[float], list[float], list[float]]:
    """Mean and bounds of each column; where there is no interval the band is as thin as the line."""
    middles, lows, highs = [], [], []
    for column in columns:
        defined: Outcomes = [None if np.isnan(value) else float(value) for value in column]
        mean = summarise(defined).mean
        found = interval(defined, confidence, resamples=RESAMPLES)
        middle = np.nan if mean is None else mean
        middles.append(middle)
        lows.append(middle if found.low is None else found.low)
        highs.append(middle if found.high is None else found.high)
    return middles, lows, highs


def _drawn(
    places: Sequence[float],
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None,
) -> Axes:
    if not lines:
        raise BadOption("The figure has no lines. Name at least one: {'globenc': values}.")
    return bands(axes_or_new(ax, pyplot().rcParams["figure.figsize"][1]), places, lines, xlabel=xlabel, ylabel=ylabel)
