"""Tables of plug-ins for a terminal: one entry per block, which reads at any width, and one entry in detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from contextmix.plugins.contracts import options_of
from contextmix.plugins.tables import Rows

_FIRST = ("formula", "paper")


def listed(rows: Rows, kind: str) -> RenderableType:
    """Every entry as a block of a few lines: its name, its formula, its paper, and what else is known in one line.

    Args:
        rows: One per entry; the first column is the name.
        kind: What is listed, as a heading.
    """
    return Group(Text(f"{kind} ({len(rows)})", "bold"), Text(), *(_entry(row) for row in rows))


def detailed(row: Mapping[str, str], more: Mapping[str, str], example: str) -> RenderableType:
    """One entry with everything that is known of it.

    Args:
        row: As in a list.
        more: Further facts, name → text.
        example: A command line that uses it.
    """
    (_, name), *facts = row.items()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for what, told in (*facts, *more.items()):
        if told:
            table.add_row(what, Text(told))
    return Group(Text(name, "bold"), table, Text(), Text(f"Try: {example}"))


def options_told(formula: Callable[..., Any]) -> str:
    """The options of a plug-in with the values that they take, as the command line reads them.

    Args:
        formula: The function whose keyword-only parameters they are, or its stand-in.
    """
    kinds = get_type_hints(formula)
    return "; ".join(f"{name}={_values(kinds[name])}" for name in options_of(formula)) or "none"


def _values(kind: Any) -> str:
    if kind is bool:
        return "true or false"
    words: Sequence[Any] = get_args(kind)
    return " or ".join(map(str, words)) if words else "…"


def _entry(row: Mapping[str, str]) -> RenderableType:
    (_, name), *facts = row.items()
    said = dict(facts)
    lines = [Text(said.pop(one)) for one in _FIRST if one in said]
    rest = " · ".join(f"{what}: {told}" for what, told in said.items() if told)
    return Group(Text(name, "bold"), *(Padding(line, (0, 0, 0, 2)) for line in (*lines, Text(rest, "dim"))))


def print_to_console(*drawn: RenderableType) -> None:
    """Print what was drawn, with an empty line between."""
    console = Console()
    for one in drawn:
        console.print(one)
        console.print()
