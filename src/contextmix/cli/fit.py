"""The verb that learns weights of heads on a user's own texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import command
from contextmix.options.sets import Learning


@command
def fit(
    model: Annotated[str, typer.Argument(help="A built-in model, a folder, or a name on the Hugging Face Hub.")],
    data: given.DataArgument,
    out: Annotated[Path, typer.Option("--out", help="File for the learned weights, ending in .safetensors.")],
    **asked: Unpack[Learning],
) -> None:
    """Learn a weight for each layer and head from ablations on your texts, for the method 'learned'."""
    given.refuse_models(model)
    given.hide_loading()
    from contextmix.evidence.fit import fit as learned

    report = learned(given.files_of(data), out, model=model, **asked)
    console = Console()
    report.show(console)
    console.print(f"\nWritten to {out}", highlight=False)
