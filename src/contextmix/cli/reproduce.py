"""The verb for the papers' experiments."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import command
from contextmix.options.sets import ReproduceOptions


@command
def reproduce(
    study: Annotated[str, typer.Argument(help="globenc, value_zeroing or effective_attention.")],
    out: given.OutOption,
    data: Annotated[list[str] | None, given.DataOption] = None,
    **asked: Unpack[ReproduceOptions],
) -> None:
    """Reproduce a paper's experiments on your model and data: tables and figures beside the published numbers."""
    from contextmix.evidence.studies import refuse_unknown

    refuse_unknown(study, asked.get("only"))
    given.refuse_names(asked)
    given.hide_loading()
    from contextmix.evidence.reproduce import reproduce as again

    reports = again(study, out, given.files_of(data), **asked)
    console = Console()
    for report in reports:
        report.show(console)
        console.print()
    console.print(f"Written to {out}", highlight=False)
