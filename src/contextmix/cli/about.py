"""Verbs that tell what there is and whether it holds: check, methods, metrics, models."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import app, command
from contextmix.options.catalogue import MODEL
from contextmix.options.option import filled
from contextmix.options.sets import Precision


@command
def check(
    model: Annotated[str, typer.Argument(help=MODEL.help)],
    text: Annotated[str | None, typer.Option("--text", help="Check on this text. [default: a short probe]")] = None,
    **flags: Unpack[Precision],
) -> None:
    """Prove that a model can be read: its anatomy, and whether its parts add up to what it computes."""
    traced = given.load_model({"model": model, **filled(Precision, flags, "check")})
    report = traced.check(text)
    console = Console()
    console.print(
        f"{model}: {type(traced.model).__name__}, {len(report.anatomy)} blocks ({', '.join(report.anatomy.layouts)}), "
        f"{report.n_heads} heads"
    )
    table = Table("check", "relative error", "what it shows", box=None, pad_edge=False)
    checks = report.checks
    table.add_row(
        "conservation", f"{checks.conservation:.1e}", "attention · value · W_O + bias is the recorded attention output"
    )
    table.add_row(
        "block equation",
        f"{checks.block_equation:.1e}",
        "residual, attention, norms and feed-forward rebuild each block",
    )
    table.add_row("tap count", f"{checks.layers} of {len(report.anatomy)}", "every block's attention was heard")
    table.add_row("parity", f"{report.parity:.1e}", "outputs with and without the tap are equal")
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
def methods() -> None:
    """List all methods and aggregations with formula, paper and cost."""
    import contextmix

    for frame in (contextmix.methods(), contextmix.aggregations()):
        _print_plugins(frame)


@app.command()
def metrics() -> None:
    """List all metrics with formula, paper, what they compare scores with, and cost."""
    import contextmix

    _print_plugins(contextmix.metrics())


@app.command()
def models(
    model_type: Annotated[str | None, typer.Option("--type", help="Only this model type, such as llama.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only 'verified', 'refused' or 'not tried'.")] = None,
) -> None:
    """List the model types of transformers that can be read, and why the others cannot."""
    import contextmix

    frame = contextmix.models(model_type, status=status)
    console = Console()
    one_line = len(frame) > 1  # a list shows where each stands; one type alone is told in full
    names = Column("model type", no_wrap=True, min_width=max(map(len, frame.index), default=0))
    status_column = Column("status", no_wrap=True, min_width=9)
    table = Table(names, status_column, "layout (largest error), or reason", box=None, pad_edge=False)
    for name, row in frame.iterrows():
        told = Text(_told(row), no_wrap=one_line, overflow="ellipsis" if one_line else "fold")
        table.add_row(Text(str(name)), Text(row["status"]), told)
    console.print(table)
    counts = ", ".join(f"{count} {name}" for name, count in frame["status"].value_counts().items())
    versions = frame.attrs["versions"]
    console.print(f"\n{counts} (transformers {versions['transformers']}); 'contextmix check' proves a model of yours")


def _print_plugins(frame: Any) -> None:
    console = Console()
    name = Column(str(frame.index.name), no_wrap=True, min_width=max(map(len, frame.index)))  # people copy it
    table = Table(name, *frame.columns, box=None, pad_edge=False)
    for row in frame.itertuples(name=None):
        table.add_row(*map(Text, map(str, row)))
    console.print(table)
    console.print()


def _told(row: Any) -> str:
    """What is known of a model type: its layout and the largest error, or why it cannot be read."""
    if row["status"] != "verified":
        return re.sub(r"^'[^']*'( \([^)]*\))?:? ", "", str(row["reason"]))  # it begins with the name
    error = row[["conservation", "block_equation", "parity"]].max()
    return f"{row['layouts']} ({error:.0e})" + (f", its {row['part']}" if row["part"] else "")
