"""The verb that opens a page in the browser: serve."""

from __future__ import annotations

import webbrowser
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import command
from contextmix.errors import BadOption
from contextmix.options.catalogue import MODEL
from contextmix.options.option import filled
from contextmix.options.sets import Precision


@command
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help=f"{MODEL.help} Repeatable. [default: demo]", show_default=False),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any free port.")
    ] = 8000,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Maximum number of tokens in a text.")] = 512,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Time limit for one answer, in seconds.")
    ] = 120.0,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Number of worker processes; each loads every model.")
    ] = 2,
    open_browser: Annotated[bool, typer.Option("--open/--no-browser", help="Open the page in the browser.")] = False,
    **flags: Unpack[Precision],
) -> None:
    """Start a local web app to explain texts interactively in the browser.

    The server has no passwords, so it only listens on this machine (127.0.0.1); no option changes that. To use it from
    another machine, tunnel the port through ssh: ssh -L 8000:127.0.0.1:8000 SERVER, then open http://127.0.0.1:8000.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise BadOption('The page needs FastAPI and uvicorn: pip install "contextmix[serve]".')
    own, models = filled(Precision, flags, "serve"), model or ["demo"]
    given.refuse_models(*models)  # before anything that computes is loaded
    from contextmix.processes.start import warm
    from contextmix.serve.pool import MODULES

    warm(MODULES)
    from contextmix.serve.limits import Limits
    from contextmix.serve.server import serve as run

    console = Console()

    def ready(address: str) -> None:
        console.print(Text(f"contextmix is running at {address} (Ctrl-C to stop)"), soft_wrap=True)
        if open_browser:
            webbrowser.open(address)

    with Console(stderr=True).status("Loading the models …") as loading:

        def shown(address: str) -> None:
            loading.stop()
            ready(address)

        limits = Limits(tokens=max_tokens, seconds=timeout)
        run(
            models,
            port=port,
            workers=workers,
            limits=limits,
            ready=shown,
            loading=own,
        )
