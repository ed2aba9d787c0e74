"""An exploration in a terminal: one row in full, the strongest tokens of all methods, and how to see the rest."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contextmix.results.exploration import Exploration
from contextmix.tokens.pieces import printable
from contextmix.views.drawing.exploration import first_row, said
from contextmix.views.terminal import maps
from contextmix.views.terminal.plain import readable

STRONGEST = 3
"""Tokens that are named of each method."""


def show(exploration: Exploration, console: Console | None = None) -> None:
    """Print it.

    Args:
        exploration: Any.
        console: Where to; left out, the standard output.
    """
    console = readable(console)
    if exploration.prediction:
        console.print(Text(said(exploration) + "\n"))
    maps.show(first_row(exploration, next(iter(exploration.maps))), console=console)
    if len(exploration.maps) > 1:
        console.print(_strongest(exploration))
    console.print(Text("\nSave as an interactive page: exploration.save('x.html')", "dim"))


def _strongest(exploration: Exploration) -> Table:
    table = Table("\nmethod", "\nstrongest tokens", "\nfull map", box=None, pad_edge=False)
    for name, one in exploration.maps.items():
        row = first_row(exploration, name)
        found = ", ".join(printable(piece) for piece, _ in row.top(STRONGEST))
        axes = " × ".join(f"{count} {axis}" for axis, count in zip(one.dims, one.shape, strict=True))
        table.add_row(Text(name), Text(found), Text(axes, "dim"))
    return table
