"""Panels of means with intervals: what is drawn where."""

import pytest
from matplotlib.figure import Figure

from contextmix.views.figures.dots import Dot, Panel, dot_panels, dots, size_for

DOTS = [
    Dot("worst", 0.1, 0.0, 0.2, "worse"),
    Dot("winner", 0.9, 0.8, 1.0, "best"),
    Dot("random", 0.3, None, None, "chance"),
]


@pytest.mark.parametrize(
    ("higher", "order"), [(True, ["worst", "random", "winner"]), (False, ["winner", "random", "worst"])]
)
def test_the_best_is_on_top_and_chance_is_a_line(higher, order):
    axes = dots(Figure().subplots(), Panel("aopc", DOTS, higher))
    assert [label.get_text() for label in axes.get_yticklabels()] == order
    bars = [line for line in axes.lines if list(line.get_xdata()) == [0.8, 1.0]]
    assert list(bars[0].get_ydata()) == [order.index("winner")] * 2
    assert any(list(line.get_xdata()) == [0.3, 0.3] and line.get_linestyle() == "--" for line in axes.lines)
    assert ("more is better" in axes.get_title(loc="left")) is higher


def test_every_panel_and_one_legend():
    canvas = Figure(figsize=size_for(4, 3), layout="constrained")
    dot_panels(canvas, [Panel(f"m{i}", DOTS, None) for i in range(4)])
    assert [axes.get_title(loc="left") for axes in canvas.axes if axes.get_visible()] == ["m0", "m1", "m2", "m3"]
    (legend,) = canvas.legends
    assert [text.get_text() for text in legend.get_texts()] == ["best", "worse than the best", "a baseline"]
