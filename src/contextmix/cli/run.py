"""The verb for a whole data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import command
from contextmix.errors import BadInput
from contextmix.options.sets import RunOptions
from contextmix.options.values import OF_REPRESENTATION, OF_SCORE

if TYPE_CHECKING:
    from contextmix import Run


@command
def run(data: given.DataArgument, out: given.OutOption, **asked: Unpack[RunOptions]) -> None:
    """Explain every text or answer every question of a data set. Run the same command again to resume."""
    answers = asked.get("task") == "answer"
    names = asked.get("methods") or [OF_SCORE if answers else OF_REPRESENTATION]
    options = given.resolved(asked, names, asked.get("metrics", ()))
    given.refuse_names({**options, "methods": names})
    given.hide_loading()
    from contextmix.datasets.running.run import run as measured

    _print_summary(measured(given.files_of(data), out, **options))


def _print_summary(found: Run) -> None:
    """What came out, and where it lies."""
    told, console = found.summary(), Console()
    table = Table("", "", box=None, pad_edge=False, show_header=False)
    answers = "cut" in told
    what = "rows" if answers else "texts"
    if answers:
        table.add_row("answered", f"{told['results']:,} of {told['rows']:,} rows")
        table.add_row("context cut", f"{told['cut']:,} of them")
        table.add_row("refused", f"{told['failed']:,}")
    else:
        table.add_row("results", f"{told['results']:,} of {told['rows']:,} rows")
    for problem, count in told["problems"].items():
        table.add_row(Text(f"failed: {problem}"), f"{count:,}")
    if told["texts"]:
        speed = f"{told['texts_per_second']:,.1f} {what}/s, {told['tokens_per_second']:,.0f} tokens/s"
        table.add_row("last process", f"{told['texts']:,} {what} in {told['seconds']:,.0f} s: {speed}")
    table.add_row("written to", Text(str(found.folder.path)))
    console.print(table)
    if told["failed"] and not told["results"]:
        first = found.failures()["reason"].iloc[0]
        done = "answered" if answers else "measured"
        raise BadInput(f"None of the {told['rows']:,} rows could be {done}. The first error: {first}")
    if told["failed"]:
        console.print(Text(f"\nReasons: contextmix.open_run({str(found.folder.path)!r}).failures()", "dim"))
