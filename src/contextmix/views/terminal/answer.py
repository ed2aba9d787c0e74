"""An answer and its sources in a terminal: the text with footnotes, what they name, and where the rest came from."""

from __future__ import annotations

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from contextmix.results.answer import Answer
from contextmix.views.drawing.answer import Report, parts_of, reported
from contextmix.views.drawing.colours import background
from contextmix.views.terminal.parts import bar, coloured, cut, kept_apart
from contextmix.views.terminal.plain import readable

UNITS = 8
"""Most parts of the answer that are listed."""
NOTES = 10
"""Most footnotes."""
_BAR, _LABEL, _ROWS = 12, 34, 6  # cells of a bar and of a label; lines of a text


def show(found: Answer, console: Console | None = None) -> None:
    """Print an answer.

    Args:
        found: Any.
        console: Where to; left out, the standard output.
    """
    console, drawn = readable(console), reported(found)
    if drawn.question:
        console.print(Text(cut(" ".join(drawn.question.split()), _ROWS * console.width), "dim"))
    if drawn.thoughts:
        console.print(Text(cut(f"({' '.join(drawn.thoughts.split())})", _ROWS * console.width), "dim italic"))
    console.print(_said(drawn))
    console.print()
    console.print(_notes(found, drawn, console.width))
    console.print(_parts(drawn))
    for sentence in drawn.told:
        console.print(Text(sentence, "dim"))
    console.print(Text("Save as an interactive page: answer.save('x.html')", "dim"))


def _said(drawn: Report) -> Text:
    """The answer with its footnotes; each part as strong as its sources are together."""
    text = Text()
    for piece in drawn.answer:
        text.append(piece.text, "bold" if piece.number is not None else "")
        text.append("".join(f"[{mark}]" for mark in piece.notes), "cyan")
    return text


def _notes(found: Answer, drawn: Report, width: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column()
    several = len(drawn.documents) > 1
    for mark, source in list(enumerate(drawn.notes, 1))[:NOTES]:
        share = float(drawn.shares[-1, source])
        one = found.sources[source]
        of = f" ({drawn.documents[one.document][0]})" if several else ""
        shown = kept_apart(cut(" ".join(one.text.split()), 2 * width)) + of
        line = Text(bar(max(drawn.scores[-1, source], 0), _BAR), Style(color=background(0.7, drawn.signed)))
        table.add_row(Text(f"[{mark}]", "cyan"), Text(f"{share:.0%}"), line, Text(shown))
        _add_without(table, drawn, source, 4 * width)
    for source in () if drawn.without is None else drawn.without.shown:
        if source not in drawn.notes:
            table.add_row("", "", "", Text(kept_apart(cut(" ".join(found.sources[source].text.split()), 2 * width))))
            _add_without(table, drawn, source, 4 * width)
    if len(drawn.notes) > NOTES:
        table.add_row("", "", "", Text(f"… and {len(drawn.notes) - NOTES} more: print(answer.cite())", "dim"))
    if not drawn.notes:
        table.add_row("", "", "", Text("No source stands out, so none is cited.", "dim"))
    return table


def _add_without(table: Table, drawn: Report, source: int, most: int) -> None:
    """A line below a source: what the answer loses without it, and what the model says then."""
    told = drawn.without_it(source)
    if told:
        table.add_row("", "", "", Text(kept_apart(cut(told, most)), "dim"))


def _parts(drawn: Report) -> Table:
    """For each part of the answer where its evidence comes from."""
    rows = list(range(len(drawn.units)))
    rows = rows if len(rows) <= UNITS + 1 else [*rows[:UNITS], rows[-1]]
    rows = rows[1:] if len(rows) == 2 else rows  # one part is the whole answer
    names = [name for name, _ in parts_of(drawn.shares[0], drawn.elsewhere[0])]
    names += [] if drawn.depends is None else ["depends (nats)"]
    table = Table("\npart of the answer", *("\n" + name for name in names), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        cells = []
        for _, share in parts_of(drawn.shares[row], drawn.elsewhere[row]):
            cells.append(Text(f" {share:.0%} ", coloured(share, False)))
        cells += [] if drawn.depends is None else [Text(f"{drawn.depends[row]:.2f}")]
        table.add_row(Text(kept_apart(cut(drawn.units[row], _LABEL))), *cells)
    if len(drawn.units) > UNITS + 1:
        table.add_row(Text(f"{len(drawn.units) - 1 - UNITS} more: answer.to_pandas()", "dim"))
    return table
