"""Bars of the terminal: one way, or both where numbers have signs."""

import pytest
from rich.console import Console

from contextmix.views.terminal.parts import BAR, Bars, both_ways


def drawn(scores, *, signed, width=60):
    names = [f"t{place}" for place in range(len(scores))]
    bars = Bars(range(len(scores)), names, scores, [f"{one:+.1f}" for one in scores], signed, [False] * len(scores))
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(bars)
    return captured.get().splitlines()


def test_negative_bars_run_the_other_way():
    first, second, third = drawn([1.0, -0.5, -0.1], signed=True)
    axis = first.index("│")
    assert second.index("│") == third.index("│") == axis
    assert first[axis + 1] == "█"
    assert second[axis - 1] == "█"
    assert second.count("█") * 2 + second.count("▐") == pytest.approx(first.count("█"), abs=1)
    assert " " not in second[second.index("█") : axis]


def test_without_negative_numbers_there_is_no_axis():
    assert not any("│" in line for line in drawn([1.0, 0.5], signed=True) + drawn([1.0, 0.5], signed=False))
    assert drawn([1.0], signed=False)[0].count("█") == BAR


@pytest.mark.parametrize("width", [22, 30, 60, 120])
def test_lines_fit_any_width_and_numbers_stand_below_each_other(width):
    lines = drawn([1.0, -1.0, 0.33, -0.01], signed=True, width=width)
    assert max(map(len, lines)) <= width
    assert len({len(line.rstrip()) for line in lines}) == 1


@pytest.mark.parametrize("longest", range(8, 22))
@pytest.mark.parametrize("score", [-1, -0.99, -0.5, -0.01, 0, 0.01, 0.5, 1])
def test_every_bar_fills_its_room(score, longest):
    assert len(both_ways(score, longest)) == longest
