"""The verb that tells which papers to cite."""

from __future__ import annotations

from typing import Annotated

import typer

from contextmix.cli.app import app


@app.command()
def cite(
    names: Annotated[
        list[str], typer.Argument(help="Names of methods, aggregations or metrics, e.g. globenc or norm+rollout.")
    ],
) -> None:
    """Print the BibTeX entries of the papers behind methods, aggregations and metrics."""
    from contextmix.plugins.citing import bibliography

    typer.echo(bibliography(names))
