"""The verb for a whole data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contextmix.cli import arguments as given
from contextmix.cli.app import app
from contextmix.errors import BadInput

if TYPE_CHECKING:
    from contextmix import Run


@app.command()
def run(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Files or globs (.jsonl .csv .tsv .parquet .txt), or a name for the library datasets.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder of the results; an unfinished run in it goes on.")],
    model: given.ModelOption = "demo",
    method: Annotated[
        str, typer.Option("--method", help="Names from 'contextmix methods', with commas; one run serves all.")
    ] = "globenc",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Of a method, such as value_zeroing.distance=euclidean; repeatable."),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", help="The token whose row is kept. [default: the first; a decoder's last]")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="The explained class; 'gold' for each row's label. [default: the predicted one]"),
    ] = None,
    layers: Annotated[str | None, typer.Option("--layers", help="'all', or numbers such as 0,5 or -1.")] = None,
    words: Annotated[bool, typer.Option("--words", help="Merge sub-words into words.")] = False,
    maps: Annotated[bool, typer.Option("--maps", help="Keep the whole token × token maps too.")] = False,
    truncate: given.TruncateOption = False,
    metrics: Annotated[
        str, typer.Option("--metrics", help="Names from 'contextmix metrics', with commas: columns 'metric:method'.")
    ] = "",
    metric_option: given.MetricOptionOption = None,
    reference: given.ReferenceOption = "gradient_inputs",
    removal: given.RemovalOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the random weights of randomised_weights.")] = 0,
    text_field: Annotated[str | None, typer.Option("--text-field", help="The column of the texts.")] = None,
    pair_field: Annotated[str | None, typer.Option("--pair-field", help="The column of the second texts.")] = None,
    label_field: Annotated[str | None, typer.Option("--label-field", help="The column of the labels.")] = None,
    id_field: Annotated[str | None, typer.Option("--id-field", help="The column of the ids.")] = None,
    query_field: Annotated[
        str | None, typer.Option("--query-field", help="The column of each row's own query, instead of --query.")
    ] = None,
    rationale_field: given.RationaleFieldOption = None,
    split: Annotated[str | None, typer.Option("--split", help="Of a data set by name.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Only the first so many rows.")] = None,
    shard_size: Annotated[int, typer.Option("--shard-size", help="Rows that are sorted and written together.")] = 1024,
    batch_tokens: Annotated[int, typer.Option("--batch-tokens", help="Tokens that run together at most.")] = 1024,
    memory: Annotated[int, typer.Option("--memory", help="MiB that a batch may take, by estimate.")] = 1024,
    dtype: given.DtypeOption = "float32",
    device: given.DeviceOption = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes, each with its own model.")] = 1,
    engine: Annotated[str, typer.Option("--engine", help="'local' or 'ray'.")] = "local",
    address: Annotated[str | None, typer.Option("--address", help="Of a Ray cluster. [default: one here]")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be explained.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed rows of this run again.")] = False,
) -> None:
    """Measure every text of a data set into a folder. Killed at any moment, the same command goes on where it was."""
    names, judges = given.names_of(method), given.names_of(metrics)
    options = given.options_by_owner(option or [], names)
    for name in names:
        given.planned(name, options.get(name, {}))
    blocks, place = given.layers_of(layers), given.query_of(query)
    given.hide_loading()
    from contextmix.datasets.running.run import run as measured

    found = measured(
        data[0] if len(data) == 1 else data,
        out,
        model=model,
        methods=names,
        options=options,
        query=place,
        target=target,
        layers=blocks,
        words=words,
        maps=maps,
        truncate=truncate,
        metrics=judges,
        metric_options=given.options_by_owner(metric_option or [], judges, "--metric-option"),
        reference=reference,
        removal=removal or "mask",  # type: ignore[arg-type]
        seed=seed,
        text_field=text_field,
        pair_field=pair_field,
        label_field=label_field,
        id_field=id_field,
        query_field=query_field,
        rationale_field=rationale_field,
        split=split,
        limit=limit,
        shard_size=shard_size,
        batch_tokens=batch_tokens,
        memory_budget=memory * 2**20,
        dtype=dtype,
        device=device,
        workers=workers,
        engine=engine,  # type: ignore[arg-type]
        address=address,
        strict=strict,
        retry_failed=retry_failed,
    )
    _print_summary(found)


def _print_summary(found: Run) -> None:
    """What came out, and where it lies."""
    told, console = found.summary(), Console()
    table = Table("", "", box=None, pad_edge=False, show_header=False)
    table.add_row("results", f"{told['results']:,} of {told['rows']:,} rows")
    for problem, count in told["problems"].items():
        table.add_row(Text(f"failed: {problem}"), f"{count:,}")
    if told["texts"]:
        speed = f"{told['texts_per_second']:,.1f} texts/s, {told['tokens_per_second']:,.0f} tokens/s"
        table.add_row("last process", f"{told['texts']:,} texts in {told['seconds']:,.0f} s: {speed}")
    table.add_row("written to", Text(str(found.folder.path)))
    console.print(table)
    if told["failed"] and not told["results"]:
        first = found.failures()["reason"].iloc[0]
        raise BadInput(f"None of the {told['rows']:,} rows could be measured. The first one: {first}")
    if told["failed"]:
        console.print(Text(f"\nReasons: contextmix.open_run({str(found.folder.path)!r}).failures()", "dim"))
