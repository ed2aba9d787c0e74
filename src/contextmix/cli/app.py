"""The command line itself: its name, and how it refuses."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from contextmix.errors import ContextMixError, Interrupted


class Verbs(TyperGroup):
    """Every refusal is one clear sentence and exit status 1; Ctrl-C is one too, and exit status 130.

    A run that was stopped and can go on ends with 75, which means "try again" (EX_TEMPFAIL).
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except ContextMixError as refusal:
            Console(stderr=True).print(Text(f"contextmix: {refusal}"), soft_wrap=True)
            raise typer.Exit(75 if isinstance(refusal, Interrupted) else 1) from refusal
        except KeyboardInterrupt as stop:
            Console(stderr=True).print("contextmix: stopped; nothing was written.")
            raise typer.Exit(130) from stop


app = typer.Typer(
    cls=Verbs,
    help="Which tokens made this? Context mixing and token attribution for Hugging Face Transformers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
