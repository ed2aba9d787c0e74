"""Maps as coloured text. Every number that a colour stands for is also written, for consoles without colour."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from contextmix.tokenmap import TokenMap
from contextmix.views.colours import background, foreground
from contextmix.views.picture import Picture, picture, spelled

GRID_LIMIT = 25
"""Most tokens that are shown as a table of queries and keys."""
LIST_LIMIT = 40
"""Most tokens that are listed one per line; of a longer text, the strongest."""

_BAR = 20
_LABEL = 14


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
        >>> from contextmix.provenance import Provenance
        >>> from contextmix.tokens import Tokens
        >>> result = TokenMap([0.25, 0.75], ("key",), Tokens(("good", "film")), "share", Provenance("example"))
        >>> Console(width=60, color_system=None).print(render(result))  # doctest: +ELLIPSIS
        good film
        ...
    """
    drawn = picture(token_map, query, GRID_LIMIT)
    caption = Text("\n".join(drawn.caption), style="dim")
    if drawn.kind == "line":
        return Group(_sentence(drawn), Text(), _list(drawn), Text(), caption)
    return Group(_Grid(drawn), caption)


def show(token_map: TokenMap, query: int | str | None = None, console: Console | None = None) -> None:
    """Print a map.

    Args:
        token_map: See `render`.
        query: See `render`.
        console: Where to; left out, the standard output.

    Raises:
        WrongShape: If the map has axes that no picture shows.
    """
    console = console or Console()
    if not console.encoding.startswith("utf") and isinstance(console.file, io.TextIOWrapper):
        # A bar or a letter that the encoding lacks becomes "?"; the numbers stay readable.
        console.file.reconfigure(errors="replace")
    console.print(render(token_map, query))


def _style(score: float, signed: bool) -> Style:
    colour = background(score, signed)
    return Style(color=foreground(colour), bgcolor=colour)


def _sentence(drawn: Picture) -> Text:
    text = Text()
    for (gap, label), score in zip(spelled(drawn.keys), drawn.scores[0], strict=True):
        text.append(gap).append(label, _style(score, drawn.signed))
    return text


def _list(drawn: Picture) -> RenderableType:
    strength = np.abs(drawn.scores[0])
    shown = sorted(np.argsort(-strength, kind="stable")[:LIST_LIMIT].tolist())
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("right", "left", "left", "right", "left"):
        table.add_column(justify=justify)
    for position in shown:
        score, number = drawn.scores[0, position], drawn.numbers[0][position]
        mark = "◀ strongest" if strength[position] == 1 else ""
        texts = (Text(str(position), "dim"), Text(drawn.columns[position]), _bar(score, drawn.signed))
        table.add_row(*texts, Text(number), Text(mark))
    if len(shown) == len(drawn.columns):
        return table
    return Group(table, Text(f"The {len(shown)} strongest of {len(drawn.columns)} tokens.", style="dim"))


def _bar(score: float, signed: bool) -> Text:
    full, rest = divmod(round(abs(score) * _BAR * 8), 8)
    blocks = "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
    return Text(blocks, Style(color=background(np.sign(score) * 0.7, signed)))


@dataclass(frozen=True)
class _Grid:
    """A table of coloured numbers that breaks into blocks of columns where the console is narrow."""

    drawn: Picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        labels = [_cut(label) for label in self.drawn.columns]
        numbers = zip(*self.drawn.numbers, strict=True)
        widths = [max(cell_len(label), *map(len, column)) for label, column in zip(labels, numbers, strict=True)]
        head = max(cell_len(_cut(row)) for row in self.drawn.rows)
        for start, stop in _blocks(widths, options.max_width - head):
            columns = range(start, stop)
            yield self._line("", [_centred(labels[column], widths[column]) for column in columns], None, head)
            for place, row in enumerate(self.drawn.rows):
                cells = [self.drawn.numbers[place][column].rjust(widths[column]) for column in columns]
                yield self._line(_cut(row), cells, self.drawn.scores[place, start:stop], head)
            yield Text()

    def _line(self, label: str, cells: list[str], scores: np.ndarray | None, head: int) -> Text:
        line = Text(set_cell_size(label, head), no_wrap=True, overflow="crop")
        for place, cell in enumerate(cells):
            line.append(" ").append(cell, "bold" if scores is None else _style(scores[place], self.drawn.signed))
        return line


def _blocks(widths: list[int], room: int) -> list[tuple[int, int]]:
    """Cut columns into runs that fit the room, each with at least one column."""
    blocks, start, used = [], 0, 0
    for place, width in enumerate(widths):
        if place > start and used + width + 1 > room:
            blocks.append((start, place))
            start, used = place, 0
        used += width + 1
    return [*blocks, (start, len(widths))]


def _cut(label: str) -> str:
    return label if cell_len(label) <= _LABEL else set_cell_size(label, _LABEL - 1) + "…"


def _centred(label: str, width: int) -> str:
    room = width - cell_len(label)
    return " " * (room // 2) + label + " " * (room - room // 2)
