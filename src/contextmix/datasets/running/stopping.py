"""Being told to stop: SIGTERM and Ctrl-C end a run between two batches, with all its work on the disk."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Whether a signal to stop has come; a second Ctrl-C ends the process at once.

    Only the main thread is told of signals; in another one nothing changes.
    """
    told = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if told.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.set()

    if threading.current_thread() is not threading.main_thread():
        yield told.is_set
        return
    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield told.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
