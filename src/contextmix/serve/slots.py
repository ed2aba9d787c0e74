"""One worker process and the thread that watches it: what is slow, stuck or unwanted ends with the process."""

from __future__ import annotations

import json
import sys
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from contextmix.errors import ContextMixError
from contextmix.serve.jobs import Job
from contextmix.serve.limits import Limits
from contextmix.serve.worker import ANSWER, FAILURE, PROGRESS, READY, STILL, STOP, STOPPED

_TICK = 0.05
"""Seconds between two looks at whether a running job is still wanted; its messages are read at once."""


class Queue(Protocol):
    """Where a slot gets its process and its jobs; see `contextmix.serve.pool.Pool`."""

    limits: Limits
    closing: bool

    def connect(self) -> tuple[BaseProcess, Connection]:
        """A new worker process, which begins to load."""

    def next(self) -> Job | None:
        """The next job, once there is one; None when there will be none."""

    def note(self, seconds: float) -> None:
        """How long a job took."""


class Slot(threading.Thread):
    """One worker process, its successors, and the thread that watches them."""

    def __init__(self, pool: Queue) -> None:
        super().__init__(daemon=True)
        self.pool = pool
        self.process: BaseProcess | None = None
        self.connection: Connection | None = None

    def begin(self) -> None:
        """Start the process."""
        self.process, self.connection = self.pool.connect()

    def wait(self) -> Any:
        """What the process says when it has loaded its models; the error of loading is raised."""
        assert self.connection is not None
        try:
            letter, content = self._read()
        except (EOFError, OSError):
            raise ContextMixError(
                "A worker process ended while loading its models; there may not be enough memory."
            ) from None
        if letter != READY:
            raise ContextMixError(json.loads(content)["reason"])
        return json.loads(content)

    def kill(self) -> None:
        """Stop the process, whatever it does: one that is stuck does not hear a polite signal."""
        if self.process is not None:
            self.process.kill()

    def end(self) -> None:
        """Stop the process and clean up after it."""
        self.kill()
        if self.process is not None:
            self.process.join(5.0)
        if self.connection is not None:
            self.connection.close()
        self.process = self.connection = None

    def run(self) -> None:
        """Give the process one job after the other; after its end start another one."""
        while not self.pool.closing:
            self._revive()  # at once, so that the next job need not wait for it
            job = self.pool.next()
            if job is None:
                break
            if not self._serve(job):  # the process died while it had nothing to do, and that shows only now
                self._serve(job, again=True)
        self.end()

    def _revive(self) -> bool:
        """Make sure that there is a process with its models loaded; False if they cannot be loaded any more."""
        if self.process is not None and self.process.is_alive():
            return True
        self.end()
        try:
            self.begin()
            self.wait()
        except (ContextMixError, EOFError, OSError) as refusal:  # a process can also end before it is known here
            self.end()
            if not self.pool.closing:
                print(f"contextmix: {refusal}", file=sys.stderr)
            return False
        return True

    def _serve(self, job: Job, *, again: bool = False) -> bool:
        """Bring a job to its end; False if the process was gone before the job began, so that it may be tried again."""
        if not self._revive():
            job.fail("The models cannot be loaded again. See the server's terminal for the reason.")
            return True
        began = time.monotonic()
        assert self.process is not None
        # The last resort, also for a worker that stopped in the middle of a message, on which reading would wait.
        limits = self.pool.limits
        watchdog = threading.Timer(limits.seconds + 2 * limits.stop_seconds, self.process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            job.state = "running"
            if not self._converse(job, began + limits.seconds):
                self.end()
        except (EOFError, OSError):
            self.end()
            if job.state == "running" and not (again or job.what or job.stop.is_set()):
                return False
            job.fail("The worker process ended before it had an answer, perhaps because memory ran out. Ask for less.")
        finally:
            watchdog.cancel()
        job.seconds = time.monotonic() - began
        self.pool.note(job.seconds)
        return True

    def _converse(self, job: Job, deadline: float) -> bool:
        """Send a request and read until it is over; False if the worker does not stop though it should."""
        assert self.connection is not None
        self.connection.send_bytes(json.dumps({"kind": job.kind, **job.request}, ensure_ascii=False).encode())
        last: float | None = None  # by when the worker must have stopped
        while True:
            if self.connection.poll(_TICK) and self._over(job, *self._read()):
                return True
            now = time.monotonic()
            if last is not None and now > last:
                return False
            if last is None and (job.stop.is_set() or now > deadline):
                if now > deadline:
                    limit = self.pool.limits.seconds
                    job.fail(
                        f"It exceeded the time limit of {limit:g} s that this server allows. Ask for less, or a "
                        f"shorter text."
                    )
                self.connection.send_bytes(STOP)
                last = now + self.pool.limits.stop_seconds

    def _over(self, job: Job, letter: bytes, content: bytes) -> bool:
        """Whether a message of the worker is its last one."""
        if letter == PROGRESS:
            told = json.loads(content)
            job.progress, job.what = told["progress"], told["what"]
        elif letter == STILL:
            job.still = json.loads(content)
        elif letter == ANSWER and job.state == "running":
            job.finish(content)
        elif letter == FAILURE:
            told = json.loads(content)
            job.fail(told["reason"], told.get("field"))
        return letter in (ANSWER, FAILURE, STOPPED)

    def _read(self) -> tuple[bytes, bytes]:
        assert self.connection is not None
        message = self.connection.recv_bytes()
        return message[:1], message[1:]
