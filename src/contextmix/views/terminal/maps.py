"""Maps as coloured text. Every number that a colour stands for is also written, for consoles without colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from contextmix.results.token_map import TokenMap
from contextmix.tokens.places import Frames, Patches
from contextmix.tokens.regions import Regions
from contextmix.views.drawing.colours import Array, background
from contextmix.views.drawing.picture import Picture, picture
from contextmix.views.drawing.running_text import spelled
from contextmix.views.drawing.scene import elsewhere, marks, strongest, ticks
from contextmix.views.drawing.side_by_side import on_canvas, raster
from contextmix.views.terminal.parts import Bars, Folded, Key, coloured, cut, has_colours
from contextmix.views.terminal.plain import readable

GRID_LIMIT = 25
"""Most tokens that are shown as a table of queries and keys."""
LIST_LIMIT = 40
"""Most tokens that are listed one per line; of a longer text, the strongest."""
STEP_LIMIT = 6
"""Most keys that are listed for each query where queries are other tokens than keys."""

PLACED_LIMIT = 10
"""Most patches or frames that are listed below their picture: the strongest."""

_LONGEST = 200  # cells of a token in the running text
_LEVELS = 4
_GRID_WIDTH = 32  # cells of the images of a prompt
_SHADES = " ░▒▓█"


def render(token_map: TokenMap, query: int | str | None = None) -> RenderableType:
    """Draw a map for `rich`.

    Args:
        token_map: A map with the axes key, (query, key), (layer, key) or (layer, query, key).
        query: The token whose row to draw, by position or text. Left out: a table up to 25 tokens, else one row.

    Returns:
        The tokens coloured by score, the numbers, and a caption with method, quantity and scaling.

    Raises:
        WrongShape: If the map has other axes.
        UnknownToken: If there is no such query.
        AmbiguousToken: If the text of the query occurs more than once.

    Example:
        >>> from contextmix.results.provenance import Provenance
        >>> from contextmix.tokens.pieces import Tokens
        >>> result = TokenMap([0.25, 0.75], ("key",), Tokens(("good", "film")), "share", Provenance("example"))
        >>> Console(width=60, color_system=None).print(render(result))  # doctest: +ELLIPSIS
        good film
        ...
    """
    drawn = picture(token_map, query, GRID_LIMIT)
    caption = Group(_Caption(drawn), Key(drawn.signed))
    if drawn.kind == "line":
        return Group(_sentence(drawn), Text(), _list(drawn, LIST_LIMIT), Text(), caption)
    if drawn.kind in ("patches", "frames"):
        placed = _Patches(drawn) if drawn.kind == "patches" else _Timeline(drawn)
        return Group(placed, Text(), _list(drawn, PLACED_LIMIT), Text(), caption)
    if drawn.kind == "steps":
        more = Text(f"The {STEP_LIMIT} strongest of each row." if len(drawn.columns) > STEP_LIMIT else "", "dim")
        return Group(_steps(drawn), Text(), more, caption)
    signed = [drawn.signed] * len(drawn.columns)
    return Group(Folded(drawn.rows, drawn.columns, drawn.numbers, drawn.scores, signed), caption)


def show(
    token_map: TokenMap, query: int | str | None = None, over: object = None, console: Console | None = None
) -> None:
    """Print a map.

    Args:
        token_map: See `render`.
        query: See `render`.
        over: An image or a sound; a terminal draws the map alone.
        console: Where to; left out, the standard output.

    Raises:
        WrongShape: If the map has axes that no picture shows.
    """
    show_on(console, render(token_map, query))


def show_on(console: Console | None, drawn: RenderableType) -> None:
    """Print what was drawn, also where the encoding lacks some of its signs."""
    readable(console).print(drawn)


def _sentence(drawn: Picture) -> Text:
    text = Text()
    for (gap, label), score in zip(spelled(drawn.keys), drawn.scores[0], strict=True):
        text.append(gap).append(cut(label, _LONGEST), coloured(score, drawn.signed))
    return text


def _list(drawn: Picture, limit: int) -> RenderableType:
    strength = np.abs(drawn.values[0])
    shown = sorted({*strongest(drawn, limit), *elsewhere(drawn)[:limit]})
    largest = strength.max()
    table = Bars(
        shown,
        [drawn.columns[position] for position in shown],
        [float(drawn.scores[0, position]) for position in shown],
        [drawn.numbers[0][position] for position in shown],
        drawn.signed,
        [bool(strength[position] == largest > 0) for position in shown],
    )
    if len(shown) == len(drawn.columns):
        return table
    others = "words" if isinstance(drawn.keys.places, Regions) else "special ones"
    special = f", and the {others}" if len(shown) > limit else ""
    count = min(limit, len(drawn.columns))
    return Group(table, Text(f"The {count} strongest of {len(drawn.columns)} tokens{special}.", style="dim"))


def _steps(drawn: Picture) -> RenderableType:
    """One line per query: the keys that it draws most from, the strongest first, with their numbers."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for place, label in enumerate(drawn.rows):
        strength = np.abs(drawn.scores[place])
        order = [key for key in np.argsort(-strength, kind="stable")[:STEP_LIMIT].tolist() if strength[key]]
        line = Text("← ", "dim")
        for key in order:
            shown = f"{drawn.columns[key].strip() or drawn.columns[key]} {drawn.numbers[place][key]}"
            line.append(shown.replace(" ", "\u00a0"), coloured(drawn.scores[place, key], drawn.signed)).append("  ")
        table.add_row(Text(label, "bold"), line)
    return table


@dataclass(frozen=True)
class _Caption:
    """What the picture shows; on a console without colours no sentence speaks of them."""

    drawn: Picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = self.drawn
        scale = drawn.said_of("Scale", "+ adds, − removes")
        lines = drawn.caption if has_colours(console) else (*drawn.about, scale, *drawn.cautions)
        yield Text("\n".join(lines), style="dim")


@dataclass(frozen=True)
class _Patches:
    """The grid of an image; without colours, denser signs are stronger patches."""

    drawn: Picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = np.clip(np.nan_to_num(self._table(options.max_width)), -1, 1)
        rows, columns = table.shape
        width = 2 if 2 * columns <= options.max_width else 1
        if columns > options.max_width:
            yield Text(f"The grid of {rows} × {columns} patches is too wide for this console.", style="dim")
            return
        for row in table.tolist():
            line = Text(no_wrap=True)
            for score in row:
                colour = background(score, self.drawn.signed)
                line.append(_SHADES[round(abs(score) * 4)] * width, Style(color=colour, bgcolor=colour))
            yield line

    def _table(self, room: int) -> Array:
        """The scores on a grid; of images in a prompt on one that fits the console."""
        places, scores = on_canvas(self.drawn.keys.places), self.drawn.scores[0]
        if isinstance(places, Regions):
            width, height = places.sizes[0]
            columns = max(1, min(_GRID_WIDTH, room // 2))
            return raster(scores, places, max(1, round(columns * height / width)), columns)
        assert isinstance(places, Patches)
        table = np.zeros(places.grid)
        for token, cell in enumerate(places.cells):
            if cell is not None:
                table[cell] = scores[token]
        return table


@dataclass(frozen=True)
class _Timeline:
    """Bars along time; a column that holds several frames shows the strongest of them."""

    drawn: Picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        places = self.drawn.keys.places
        assert isinstance(places, Frames)
        columns = min(options.max_width, 100)
        peaks = np.zeros(columns)
        for mark in marks(self.drawn):
            first, last = (mark.box[edge] / places.duration * columns for edge in (0, 2))
            for column in range(round(first), max(round(first) + 1, round(last))):
                if column < columns and abs(mark.score) > abs(peaks[column]):
                    peaks[column] = mark.score
        for level in range(_LEVELS - 1, -1, -1):
            line = Text(no_wrap=True)
            for peak in peaks.tolist():
                eighths = round(abs(peak) * _LEVELS * 8) - level * 8
                colour = background(float(np.sign(peak)) * 0.7, self.drawn.signed)
                line.append(" ▁▂▃▄▅▆▇█"[max(0, min(eighths, 8))], Style(color=colour))
            yield line
        yield Text(_axis(places.duration, columns), no_wrap=True, style="dim")


def _axis(duration: float, columns: int) -> str:
    axis = ""
    for time, label in ticks(duration, max(1, columns // 12)):
        start = round(time / duration * columns)
        if start + len(label) + 1 <= columns:
            axis = axis.ljust(start) + "╷" + label
    return axis
