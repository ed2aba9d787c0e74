"""Verbs that tell what there is and whether it holds: check, methods, metrics, models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import app, command
from contextmix.cli.listing import detailed, listed, options_told, print_to_console
from contextmix.options.catalogue import MODEL
from contextmix.options.option import filled
from contextmix.options.sets import Precision

if TYPE_CHECKING:
    from contextmix.plugins.tables import Rows


def _say_version(asked: bool) -> None:
    if asked:
        from contextmix import __version__
        from contextmix.results.provenance import library_versions

        beside = {name: version for name, version in library_versions().items() if name != "contextmix"}
        typer.echo(f"contextmix {__version__} ({', '.join(map(' '.join, beside.items()))})")
        raise typer.Exit


@app.callback()
def general(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What can be asked without a verb."""


@command
def check(
    model: Annotated[str, typer.Argument(help=MODEL.help)],
    text: Annotated[
        str | None, typer.Option("--text", help="Text to check the model on. [default: a short probe]")
    ] = None,
    **flags: Unpack[Precision],
) -> None:
    """Verify that contextmix can read a model: show its anatomy and check that its parts add up to its outputs."""
    traced = given.load_model({"model": model, **filled(Precision, flags, "check")})
    report = traced.check(text)
    console = Console()
    console.print(
        f"{model}: {type(traced.model).__name__}, {len(report.anatomy)} blocks ({', '.join(report.anatomy.layouts)}), "
        f"{report.n_heads} heads"
    )
    table = Table("check", "relative error", "what it shows", box=None, pad_edge=False)
    for line in report.lines:
        table.add_row(*line)
    console.print(table)
    for block in report.anatomy.first:
        for name, part in (("attention", block.attention), ("feed-forward", block.ffn)):
            norms = [
                f"{kind} {norm.path} ({norm.kind})"
                for kind in ("norm_in", "norm_out", "norm_after")
                if (norm := getattr(part, kind))
            ]
            if part.output:  # self-attention before cross-attention is a step without a feed-forward part
                console.print(Text(f"{name} of {block.path}: output {part.output}; {'; '.join(norms) or 'no norm'}"))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method or aggregation to show in detail.")] = None,
) -> None:
    """List all methods and aggregations, or show one in detail."""
    from contextmix.plugins.contracts import Method, Recipe
    from contextmix.plugins.registry import AGGREGATIONS, METHODS, as_typed
    from contextmix.plugins.tables import aggregation_rows, method_rows

    if name is None:
        print_to_console(listed(method_rows(), "Methods"), listed(aggregation_rows(), "Aggregations"))
        Console().print(
            "'contextmix methods NAME' shows details, 'contextmix explain TEXT --method NAME' uses the method"
        )
    elif as_typed(name) in AGGREGATIONS.names:
        found = AGGREGATIONS.described(name)
        _print_one(
            aggregation_rows(), found, found.combine, f'contextmix explain "a good film" --method norm+{found.name}'
        )
    else:
        one = METHODS.described(name)
        part = METHODS.described(one.method) if isinstance(one, Recipe) else one
        formula = part.measure if isinstance(part, Method) else getattr(part, "attribute", None)
        _print_one(method_rows(), one, formula, f'contextmix explain "a good film" --method {one.name}')


@app.command()
def metrics(
    name: Annotated[str | None, typer.Argument(help="A metric to show in detail.")] = None,
) -> None:
    """List all metrics, or show one in detail."""
    from contextmix.plugins.registry import METRICS
    from contextmix.plugins.tables import metric_rows

    if name is None:
        print_to_console(listed(metric_rows(), "Metrics"))
        Console().print("Details: contextmix metrics NAME. Use: contextmix evaluate --metrics NAME.")
    else:
        found = METRICS.described(name)
        _print_one(
            metric_rows(), found, found.score, f"contextmix evaluate --metrics {found.name} --data dev.tsv --out out"
        )


def _print_one(rows: Rows, found: Any, formula: Any, example: str) -> None:
    """One plug-in in detail."""
    row = next(one for one in rows if found.name in one.values())
    more = {"options": options_told(formula), "source": str(found.paper)}
    print_to_console(detailed(row, more, example))


@app.command()
def models(
    model_type: Annotated[str | None, typer.Option("--type", help="Show only this model type, e.g. llama.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Show only this status, e.g. refused.")] = None,
) -> None:
    """List the model types of transformers that can be read, and why the others cannot."""
    from contextmix.support import STATUSES, records

    found, versions = records(model_type, status)
    console = Console()
    one_line = len(found) > 1  # a list shows where each stands; one type alone is told in full
    names = Column("model type", no_wrap=True, min_width=max(map(len, found), default=0))
    status_column = Column("status", no_wrap=True, min_width=9)
    table = Table(names, status_column, "layout (largest error), or reason", box=None, pad_edge=False)
    for name, row in found.items():
        told = Text(_told(row), no_wrap=one_line, overflow="ellipsis" if one_line else "fold")
        table.add_row(Text(name), Text(row["status"]), told)
    console.print(table)
    number = {one: sum(row["status"] == one for row in found.values()) for one in STATUSES}
    told_first = sorted(filter(number.get, STATUSES), key=number.__getitem__, reverse=True)
    counts = ", ".join(f"{number[one]} {one}" for one in told_first)
    console.print(f"\n{counts} (transformers {versions['transformers']}); 'contextmix check' verifies your own model")


def _told(row: Mapping[str, Any]) -> str:
    """What is known of a model type: its layout and the largest error, or why it cannot be read."""
    if row["status"] != "verified":
        return re.sub(r"^'[^']*'( \([^)]*\))?:? ", "", str(row["reason"]))  # it begins with the name
    error = max(row[check] for check in ("conservation", "block_equation", "parity"))
    return f"{row['layouts']} ({error:.0e})" + (f", its {row['part']}" if row["part"] else "")
