"""The verb that compares methods on a model and data of one's own."""

from __future__ import annotations

from typing import Annotated

from rich.console import Console
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import command
from contextmix.options.sets import EvaluateOptions


@command
def evaluate(
    data: Annotated[list[str], given.DataOption], out: given.OutOption, **asked: Unpack[EvaluateOptions]
) -> None:
    """Find out which method to trust for a model: scores all methods by metrics, with intervals, tests and costs."""
    options = given.resolved(asked, asked.get("methods", ()), asked.get("metrics", ()))
    given.refuse_names(options)
    given.hide_loading()
    from contextmix.evidence.evaluate import evaluate as compared

    report = compared(given.files_of(data), out, **options)
    console = Console()
    report.show(console)
    console.print(f"\nWritten to {out}", highlight=False)
