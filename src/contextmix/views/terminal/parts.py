"""Parts of every terminal view: tables that fold where the console is narrow, lists with bars, the key to the colours.

Every number that a colour stands for is also written, for consoles without colour.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from contextmix.views.drawing.colours import Array, background, foreground

BAR = 20
"""Cells of the longest bar, where there is room."""
STRONGEST = "◀ strongest"

_TOKEN = 14
_TOKEN_IN_LIST = 24
_NAME = 28
_HEADING = 14
_FEWEST = 4  # cells of a bar; a shorter one says nothing


@dataclass(frozen=True)
class Folded:
    """A table of coloured numbers that goes on below in further blocks of columns where the console is narrow.

    Attributes:
        rows: Label of each row.
        columns: Label of each column.
        numbers: (row, column), as text.
        scores: (row, column), for the colours, in [-1, 1].
        signed: Whether numbers have signs, for each column.
        names: Whether labels are names, such as ``attention_rollout``: these break into several lines; tokens are cut.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    numbers: Sequence[Sequence[str]]
    scores: Array
    signed: Sequence[bool]
    names: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        headings = [broken(one, _HEADING) if self.names else [kept_apart(cut(one, _TOKEN))] for one in self.columns]
        widths = [
            max(*map(cell_len, heading), *map(len, column))
            for heading, column in zip(headings, zip(*self.numbers, strict=True), strict=True)
        ]
        longest = max(_TOKEN, min(_NAME, options.max_width - 3 * (max(widths) + 1))) if self.names else _TOKEN
        labels = [kept_apart(cut(row, longest)) for row in self.rows]
        head = max(map(cell_len, labels))
        for start, stop in blocks(widths, options.max_width - head):
            deep = max(map(len, headings[start:stop]))
            for level in range(deep):
                cells = [one[level - deep] if level >= deep - len(one) else "" for one in headings[start:stop]]
                line = Text(" " * head, no_wrap=True, overflow="crop")
                for cell, width in zip(cells, widths[start:stop], strict=True):
                    line.append(" ").append(cell.rjust(width) if self.names else _centred(cell, width), "bold")
                yield line
            for place, label in enumerate(labels):
                line = Text(set_cell_size(label, head), no_wrap=True, overflow="crop")
                for column in range(start, stop):
                    look = coloured(self.scores[place, column], self.signed[column])
                    line.append(" ").append(self.numbers[place][column].rjust(widths[column]), look)
                yield line
            yield Text()


@dataclass(frozen=True)
class Bars:
    """Tokens one below the other, with a bar and a number each.

    Attributes:
        positions: Of the tokens.
        labels: The tokens.
        scores: In [-1, 1], for the length of the bars.
        numbers: As text.
        signed: Whether numbers have signs.
        strongest: Whether each is the largest of all.
    """

    positions: Sequence[int]
    labels: Sequence[str]
    scores: Sequence[float]
    numbers: Sequence[str]
    signed: bool
    strongest: Sequence[bool]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [kept_apart(cut(label, min(_TOKEN_IN_LIST, options.max_width // 3))) for label in self.labels]
        name, number = max(map(cell_len, names)), max(map(len, self.numbers))
        count = len(str(max(self.positions)))
        room = options.max_width - (count + 2 + name + 2 + 2 + number)
        mark = next(one for one in (STRONGEST, "◀", "") if room - cell_len(one) - 2 >= _FEWEST or not one)
        longest = min(BAR, room - (cell_len(mark) + 2 if mark else 0))
        two_ways = self.signed and min(self.scores) < 0 and longest >= 2 * _FEWEST
        for position, label, score, text, first in zip(
            self.positions, names, self.scores, self.numbers, self.strongest, strict=True
        ):
            line = Text(no_wrap=True, overflow="crop")
            line.append(str(position).rjust(count), "dim").append("  " + set_cell_size(label, name) + "  ")
            if longest >= _FEWEST:
                drawn = both_ways(score, longest) if two_ways else bar(score, longest).ljust(longest)
                line.append(drawn, Style(color=background(np.sign(score) * 0.7, self.signed))).append("  ")
            line.append(text.rjust(number))
            yield line.append(f"  {mark}") if first and mark else line


@dataclass(frozen=True)
class Key:
    """What the colours stand for; nothing on a console that has none."""

    signed: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not has_colours(console):
            return
        steps = (-1.0, -0.5, 0.0, 0.5, 1.0) if self.signed else (0.0, 0.25, 0.5, 0.75, 1.0)
        line = Text(no_wrap=True, overflow="crop")
        for step in steps:
            line.append(f" {step:g} ", coloured(step, self.signed))
        yield line.append(" × largest", "dim")


def has_colours(console: Console) -> bool:
    """Whether a console shows colours."""
    return not console.no_color and console.color_system is not None


def coloured(score: float, signed: bool) -> Style:
    """The colour of a score, with letters that can be read on it."""
    colour = background(score, signed)
    return Style(color=foreground(colour), bgcolor=colour)


def bar(score: float, longest: int) -> str:
    """A bar of eighths of cells."""
    full, rest = divmod(round(abs(score) * longest * 8), 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def both_ways(score: float, longest: int) -> str:
    """A bar to the right of an axis in the middle; to the left of it, in halves of cells, where the score is negative.

    Example:
        >>> [both_ways(score, 9) for score in (1, -1, -0.4)]
        ['    │████', '████│    ', '  ▐█│    ']
    """
    side = (longest - 1) // 2
    right = bar(score, side) if score > 0 else ""
    whole, half = divmod(round(abs(score) * side * 2), 2) if score < 0 else (0, 0)
    left = "▐" * half + "█" * whole
    return f"{left.rjust(side)}│{right.ljust(side)}".ljust(longest)


def blocks(widths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Cut columns into runs that fit the room, each with at least one column."""
    found, start, used = [], 0, 0
    for place, width in enumerate(widths):
        if place > start and used + width + 1 > room:
            found.append((start, place))
            start, used = place, 0
        used += width + 1
    return [*found, (start, len(widths))]


def cut(label: str, longest: int) -> str:
    """A label in so many cells; East Asian letters and emoji take two."""
    return label if cell_len(label) <= longest else set_cell_size(label, longest - 1) + "…"


def kept_apart(label: str) -> str:
    """A label between marks that keep a right-to-left one from pulling the numbers beside it to its other side."""
    turned = any(unicodedata.bidirectional(sign) in ("R", "AL", "AN") for sign in label)
    return f"\u200e{label}\u200e" if turned else label


def broken(name: str, longest: int) -> list[str]:
    """A name in lines, broken after ``_``, ``+`` and the like; what is longer still is cut.

    Example:
        >>> broken("attention_fixed_residual", 14)
        ['attention_', 'fixed_residual']
    """
    lines = [""]
    for part in re.findall(r"[^_+\-/ ]*[_+\-/ ]?", name):
        if lines[-1] and cell_len(lines[-1] + part) > longest:
            lines.append("")
        lines[-1] += part
    return [cut(line.strip(), longest) for line in lines]


def _centred(label: str, width: int) -> str:
    room = width - cell_len(label)
    return " " * (room // 2) + label + " " * (room - room // 2)
