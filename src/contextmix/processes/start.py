"""Start a process that holds one end of a pipe: quickly, without the caller's script, and deaf to Ctrl-C."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

_STARTING = threading.Lock()
"""What is held back while a process starts belongs to the whole process: one thread at a time."""


def context(modules: Sequence[str]) -> Any:
    """How processes are started; a forked copy of this one, with the threads of torch, would hang.

    On Linux they are forked from a server that has imported what they need and run nothing: the second one, and one
    that takes the place of a dead one, are there at once, and what was imported is in memory once.

    Args:
        modules: What the server imports; it does so once, for the first who asks.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(modules))
    return found


def start(
    target: Callable[..., None], *arguments: Any, modules: Sequence[str], name: str | None = None
) -> tuple[BaseProcess, Connection]:
    """Start a process, which ends with this one.

    Args:
        target: A function of a module; its first argument is the other end of the pipe.
        arguments: What follows it.
        modules: What the process needs; see `context`.
        name: Of the process.

    Returns:
        The process and this end of the pipe. The process never sees Ctrl-C, which a terminal sends to all: a message
        tells it to stop. A closed pipe says that the other side is gone.
    """
    starter = context(modules)
    own, theirs = starter.Pipe()
    process = starter.Process(target=target, args=(theirs, *arguments), name=name, daemon=True)
    with _STARTING, _without_script(), _without_interrupts():
        process.start()
    theirs.close()  # the process has its own; so that its end is seen here
    return process, own


def warm(modules: Sequence[str]) -> None:
    """Begin to import what processes need, in a process beside this one, which can import in the meantime."""
    if context(modules).get_start_method() == "forkserver":
        # Ctrl-C goes to all processes of a terminal; that one ends with this one, and says nothing.
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, heard)


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
    """A process that is started here does not import the script that began it all: it needs nothing of it.

    So a script need not guard its call by ``if __name__ == "__main__"``, and may come from the standard input.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # by itself: it lets interrupts through when it has begun
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
