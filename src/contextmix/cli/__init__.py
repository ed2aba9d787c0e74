"""The verbs of contextmix for a terminal, one file per family; torch is loaded when a verb needs it, not before."""

from __future__ import annotations

import os

from contextmix.cli import about, explain, reproduce, run  # each brings its verbs  # noqa: F401
from contextmix.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; usage errors exit with 2, for the rest see `Verbs`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    app()
