"""The verb for the papers' experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from contextmix.cli import arguments as given
from contextmix.cli.app import app


@app.command()
def reproduce(
    study: Annotated[str, typer.Argument(help="globenc, value_zeroing or effective_attention.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of tables, figures and runs; what is there is kept.")],
    data: Annotated[list[str] | None, typer.Option("--data", help="Files as for 'contextmix run'; repeatable.")] = None,
    model: given.ModelOption = "demo",
    only: Annotated[
        str | None, typer.Option("--only", help="Names of experiments of the study, with commas. [default: all]")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Only the first so many rows.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is random.")] = 0,
    text_field: Annotated[str | None, typer.Option("--text-field", help="The column of the texts.")] = None,
    pair_field: Annotated[str | None, typer.Option("--pair-field", help="The column of the second texts.")] = None,
    label_field: Annotated[str | None, typer.Option("--label-field", help="The column of the labels.")] = None,
    other_model: Annotated[
        str | None, typer.Option("--other-model", help="A second model, for experiments that compare two.")
    ] = None,
    tags_field: Annotated[
        str | None, typer.Option("--tags-field", help="The column with one part of speech per word.")
    ] = None,
    tagger: Annotated[
        str | None, typer.Option("--tagger", help="The spaCy pipeline that finds parts of speech otherwise.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes, each with its own model.")] = 1,
    dtype: given.DtypeOption = "float32",
    device: given.DeviceOption = None,
) -> None:
    """Do a paper's experiments again on a model and data of yours: tables, figures, and what was published beside."""
    given.hide_loading()
    from contextmix.evidence.reproduce import reproduce as again

    fields: dict[str, Any] = {"text_field": text_field, "pair_field": pair_field, "label_field": label_field}
    reports = again(
        study,
        out,
        model=model,
        data=data[0] if data and len(data) == 1 else data,
        only=None if only is None else [name.strip() for name in only.split(",")],
        limit=limit,
        seed=seed,
        other_model=other_model,
        tags_field=tags_field,
        tagger=tagger,
        workers=workers,
        dtype=dtype,
        device=device,
        **{name: value for name, value in fields.items() if value is not None},
    )
    console = Console()
    for report in reports:
        report.show(console)
        console.print()
    console.print(f"Written to {out}", highlight=False)
