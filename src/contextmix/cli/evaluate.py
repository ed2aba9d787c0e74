"""The verb that compares methods on a model and data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from contextmix.cli import arguments as given
from contextmix.cli.app import app


@app.command()
def evaluate(
    data: Annotated[list[str], typer.Option("--data", help="Files as for 'contextmix run'; repeatable.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of tables, figure and runs; what is there is kept.")],
    model: given.ModelOption = "demo",
    methods: Annotated[
        str, typer.Option("--methods", help="Names from 'contextmix methods', with commas, or 'all' that are fast.")
    ] = "all",
    metrics: Annotated[
        str,
        typer.Option("--metrics", help="Names from 'contextmix metrics', with commas, or 'all' the data allow."),
    ] = "all",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Of a method, such as value_zeroing.distance=euclidean; repeatable."),
    ] = None,
    metric_option: given.MetricOptionOption = None,
    reference: given.ReferenceOption = "gradient_inputs",
    removal: given.RemovalOption = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="The explained class; 'gold' for each row's label. [default: the predicted one]"),
    ] = None,
    sanity: Annotated[int, typer.Option("--sanity", help="Texts for the check with random weights.")] = 50,
    limit: Annotated[int | None, typer.Option("--limit", help="Only the first so many rows.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is random.")] = 0,
    text_field: Annotated[str | None, typer.Option("--text-field", help="The column of the texts.")] = None,
    pair_field: Annotated[str | None, typer.Option("--pair-field", help="The column of the second texts.")] = None,
    label_field: Annotated[str | None, typer.Option("--label-field", help="The column of the labels.")] = None,
    rationale_field: given.RationaleFieldOption = None,
    split: Annotated[str | None, typer.Option("--split", help="Of a data set by name.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", help="Processes, each with its own model. [default: one per processor, at most 4, if small]"
        ),
    ] = None,
    dtype: given.DtypeOption = "float32",
    device: given.DeviceOption = None,
) -> None:
    """Which method should I believe for my model? Methods against metrics, with intervals, tests and costs."""
    given.hide_loading()
    from contextmix.evidence.evaluate import evaluate as compared

    names, judges = given.names_of(methods), given.names_of(metrics)
    fields: dict[str, Any] = {"text_field": text_field, "pair_field": pair_field, "label_field": label_field}
    fields |= {"rationale_field": rationale_field, "split": split, "workers": workers}
    report = compared(
        data[0] if len(data) == 1 else data,
        out,
        model=model,
        methods="all" if names == ["all"] else names,
        metrics="all" if judges == ["all"] else judges,
        options=given.options_by_owner(option or [], names),
        metric_options=given.options_by_owner(metric_option or [], judges, "--metric-option"),
        reference=reference,
        removal=removal,  # type: ignore[arg-type]
        target=target,
        sanity=sanity,
        limit=limit,
        seed=seed,
        dtype=dtype,
        device=device,
        **{name: value for name, value in fields.items() if value is not None},
    )
    console = Console()
    report.show(console)
    console.print(f"\nWritten to {out}", highlight=False)
