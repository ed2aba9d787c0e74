"""From models to a server that runs: the socket, the workers, and an end that leaves nothing behind."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvicorn

import contextmix
from contextmix.errors import BadInput, BadOption
from contextmix.serve.app import application
from contextmix.serve.asking import Asking, display_names
from contextmix.serve.guard import Guard
from contextmix.serve.jobs import Shelf
from contextmix.serve.limits import Limits
from contextmix.serve.pool import Pool
from contextmix.serve.protocol import bounded
from contextmix.tracing.inputs.readers import load_tokenizer

HOST = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """A socket of this machine only.

    Raises:
        BadOption: If the port is taken or may not be used.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port whose last server has just ended is free
    try:
        made.bind((HOST, port))
        made.listen()  # or another one could bind it while this one loads its models; clients wait until it answers
    except OSError as reason:
        made.close()
        raise BadOption(
            f"Cannot listen on port {port} of this machine: {reason.strerror or reason}. Another server may be using "
            f"it. Choose another port with --port, or --port 0 for any free port."
        ) from None
    return made


def serve(
    models: Sequence[str],
    *,
    port: int,
    workers: int,
    limits: Limits,
    loading: Mapping[str, Any] | None = None,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until a signal says stop.

    Args:
        models: What `contextmix.load` takes.
        port: Where to listen; 0 for any that is free.
        workers: Processes that compute.
        limits: What the server takes and keeps.
        loading: What `contextmix.load` is told beside the names.
        ready: Called with the address once the server answers.

    Raises:
        BadOption: If the port cannot be used.
        BadInput: If a model reads no texts.
        ContextMixError: If a model cannot be loaded.
    """
    places = display_names(models)
    listener = listen(port)  # before the models: what can be refused at once is
    port = listener.getsockname()[1]
    pool = Pool(functools.partial(contextmix.load, **(loading or {})), places, workers, limits)
    try:
        facts = pool.start()
        asking = Asking(facts, {name: _tokenizer(name, place) for name, place in places.items()}, limits)
        app = application(pool, asking, Shelf(limits))
        config = uvicorn.Config(
            Guard(app, port, limits),
            http=bounded(limits),
            ws="none",
            log_level="warning",
            access_log=False,  # texts are nobody's business, and ids open answers
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=limits.idle_seconds,
            timeout_graceful_shutdown=3,
        )
        server = _Server(config, functools.partial(ready, f"http://{HOST}:{port}"))
        server.run(sockets=[listener])
    finally:
        pool.close()
        listener.close()


class _Server(uvicorn.Server):
    """Says when it is ready, and ends on a signal without raising it again: that is how a server is meant to end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self._captured_signals.clear()


def _tokenizer(name: str, place: str) -> Any:
    found = load_tokenizer(place)
    if found is None:
        raise BadInput(f"{name} has no tokenizer, so it cannot read the texts typed here.")
    return found
