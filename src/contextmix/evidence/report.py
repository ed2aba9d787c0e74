"""What an experiment found: tables, figures and plain words, shown in a terminal and written to a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from contextmix.errors import refuse_kinds
from contextmix.maths.shapes import cut
from contextmix.results.files import make_folder, write_atomically
from contextmix.tokens.pieces import printable
from contextmix.views.figures.canvas import encoded, pyplot
from contextmix.views.figures.latex import escape
from contextmix.views.terminal.plain import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

LATEX_WIDTH = 100
"""Characters of a line of a table in a page of small letters."""
_HALF = re.compile("[\ud800-\udfff]")
_HYPHEN_OF_NUMBER = re.compile(r"(?<![\w-])-(?=\d)")


@dataclass(frozen=True)
class Table:
    """Numbers with their labels.

    Attributes:
        name: Name of its files.
        caption: One sentence: what it shows, of what, of how many.
        numbers: Everything that was measured, for the CSV file: one line per entry.
        shown: The same as people read it, with short texts such as ``".77 ±.12"``; left out, the numbers rounded.
        aside: Whether it is too long for a terminal and the report, and is only written to files of its own.
    """

    name: str
    caption: str
    numbers: pd.DataFrame
    shown: pd.DataFrame | None = None
    aside: bool = False

    def __repr__(self) -> str:
        return f"<Table {self.name}: {' × '.join(map(str, self.numbers.shape))}; {cut(repr(self.caption), 120)}>"

    @property
    def texts(self) -> pd.DataFrame:
        """The table as people read it: all texts, the index as the first column."""
        frame = self.numbers if self.shown is None else self.shown
        return frame.reset_index().map(_text)


@dataclass(frozen=True)
class Figure:
    """A picture that is drawn when it is asked for.

    Attributes:
        name: Name of its files.
        caption: One sentence.
        draw: Draws it on an empty matplotlib figure.
        size: Width and height in inches.
    """

    name: str
    caption: str
    draw: Callable[[Canvas], None]
    size: tuple[float, float] = (6.0, 4.0)


@dataclass(frozen=True)
class Report:
    """What one experiment found.

    Attributes:
        name: Such as ``"globenc_table1"``.
        title: What it asks.
        summary: What was found, in plain sentences; also what does not agree with the paper.
        tables: In order.
        figures: In order.
        record: Everything needed to do it again: settings, seeds, versions, model, data, time taken. JSON values.
    """

    name: str
    title: str
    summary: Sequence[str]
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_kinds(self, name=str, title=str, record=Mapping)
        refuse_kinds(self, **dict.fromkeys(("summary", "tables", "figures"), (tuple, list)))

    def __repr__(self) -> str:
        held = f"{len(self.tables)} tables, {len(self.figures)} figures"
        return f"<Report {self.name}: {cut(repr(self.title), 120)}; {held}>"

    def show(self, console: Console | None = None) -> None:
        """Print title, tables and summary."""
        console = readable(console)
        console.print(Text(self.title, "bold"))
        for table in (one for one in self.tables if not one.aside):
            console.print()
            console.print(Text(table.caption, "dim"))
            for texts in folded(table, console.width):
                grid = Grid(*map(str, texts.columns), box=None, pad_edge=False)
                for line in texts.itertuples(index=False, name=None):
                    grid.add_row(*map(Text, line))
                console.print(grid)
        console.print()
        for sentence in self.summary:
            console.print(Text(f"- {sentence}"))

    def save(self, folder: Path | str) -> list[Path]:
        """Write tables (CSV, Markdown, LaTeX), figures (PNG, SVG), the report (Markdown) and the record (JSON).

        Args:
            folder: Made if it is not there; files of an earlier report of the same name are replaced.

        Returns:
            What was written.

        Raises:
            OutputUnwritable: If it cannot be written.
            BadOption: If there are figures and matplotlib is not installed.
        """
        folder = Path(folder)
        make_folder(folder)
        files: dict[str, bytes] = {}
        for table in self.tables:
            files[f"{table.name}.csv"] = _bytes(table.numbers.to_csv())
            files[f"{table.name}.md"] = _bytes(markdown(table.texts))
            files[f"{table.name}.tex"] = _bytes(latex(table))
        for figure in self.figures:
            files |= {f"{figure.name}.{kind}": data for kind, data in drawn(figure).items()}
        files[f"{self.name}.md"] = _bytes(self.text())
        files[f"{self.name}.json"] = (json.dumps(dict(self.record), indent=1) + "\n").encode()
        for name, data in files.items():
            write_atomically(folder / name, data, overwrite=True)
        return [folder / name for name in files]

    def text(self) -> str:
        """The whole report in Markdown, with its figures beside it."""
        parts = [f"# {self.title}", "\n".join(f"- {sentence}" for sentence in self.summary)]
        parts += [f"{table.caption}\n\n{markdown(table.texts)}" for table in self.tables if not table.aside]
        parts += [f"![{figure.caption}]({figure.name}.png)\n\n{figure.caption}" for figure in self.figures]
        return "\n\n".join(parts) + "\n"


def folded(table: Table, width: int) -> list[pd.DataFrame]:
    """A table of texts in pieces that fit beside each other's place: the first columns again, then as many as fit.

    Args:
        table: Its index stands in the first columns.
        width: Of the terminal, in characters.
    """
    texts = table.texts
    index = (table.numbers if table.shown is None else table.shown).index.nlevels
    sizes = [2 + max([len(str(name)), *map(len, texts.iloc[:, place])]) for place, name in enumerate(texts.columns)]
    pieces: list[list[int]] = [[]]
    for place in range(index, len(sizes)):
        if pieces[-1] and sum(sizes[:index]) + sum(sizes[one] for one in pieces[-1]) + sizes[place] > width + 2:
            pieces.append([])
        pieces[-1].append(place)
    return [texts.iloc[:, [*range(index), *piece]] for piece in pieces]


def markdown(texts: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    lines = [list(map(str, texts.columns)), ["---"] * len(texts.columns), *texts.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def latex(table: Table) -> str:
    """A table in LaTeX, for the package booktabs; one that is wider than a page goes on below, in pieces."""
    pieces = [_tabular(texts) for texts in folded(table, LATEX_WIDTH)]
    head = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{_for_latex(table.caption)}}}",
        rf"\label{{{table.name}}}",
    ]
    return "\n".join([*head, "\n\n\\medskip\n".join(pieces), r"\end{table}"]) + "\n"


def _tabular(texts: pd.DataFrame) -> str:
    lines = [list(map(str, texts.columns)), *texts.to_numpy().tolist()]
    written = [" & ".join(_for_latex(_HYPHEN_OF_NUMBER.sub("−", cell)) for cell in line) + r" \\" for line in lines]
    head = [rf"\begin{{tabular}}{{{'l' * len(texts.columns)}}}", r"\toprule", written[0], r"\midrule"]
    return "\n".join([*head, *written[1:], r"\bottomrule", r"\end{tabular}"])


def _for_latex(text: str) -> str:
    """Escaped, and half characters as the tokens of a map show them: an escape would be a command."""
    return escape(_HALF.sub(lambda half: printable(half[0]), text))


def drawn(figure: Figure) -> dict[str, bytes]:
    """A figure as PNG and SVG.

    Raises:
        BadOption: If matplotlib is not installed.
    """
    pyplot()
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=figure.size, layout="constrained")
    figure.draw(canvas)
    return {kind: encoded(canvas, f".{kind}", dpi=200) for kind in ("png", "svg")}


def _bytes(text: str) -> bytes:
    """UTF-8, with half characters (a broken text, a file name that is not UTF-8) as escapes."""
    return text.encode("utf-8", "backslashreplace")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.3g}"
    return str(value)
