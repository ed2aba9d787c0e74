"""The verbs of contextmix for a terminal, one file per family; torch is loaded when a verb needs it, not before."""

from __future__ import annotations

import io
import os
import sys

from contextmix.cli import (  # each brings its verbs  # noqa: F401
    about,
    answer,
    cite,
    evaluate,
    explain,
    fit,
    reproduce,
    run,
    serve,
)
from contextmix.cli.app import app
from contextmix.views.terminal import plain

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; usage errors exit with 2, for the rest see `Verbs`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Read when torch loads. oneDNN keeps a kernel for each of the last 1,024 shapes; a run over a data set has ever
    # new ones, of which few come back (30 MiB after 14,000 texts).
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    for console in (sys.stdout, sys.stderr):
        if isinstance(console, io.TextIOWrapper):
            console.reconfigure(errors=plain.NAME)
    app()
