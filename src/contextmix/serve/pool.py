"""Worker processes, each watched by a thread: what is slow, stuck or unwanted is stopped, and the others go on."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from contextmix.errors import ContextMixError
from contextmix.serve.jobs import Job
from contextmix.serve.limits import Limits
from contextmix.serve.worker import ANSWER, FAILURE, PROGRESS, READY, STILL, STOP, STOPPED, Load, work

_TICK = 0.05
"""Seconds between two looks at whether a running job is still wanted; its messages are read at once."""


class Full(Exception):
    """As many explorations wait as may wait.

    Attributes:
        seconds: When it may be worth trying again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Pool:
    """Processes that have the models loaded, and a queue of bounded length in front of them.

    Args:
        load: How a model is loaded; a function of a module.
        places: Name of each model → what ``load`` takes.
        workers: Processes. Each holds all models, so memory grows with them.
        limits: Of the server.
    """

    def __init__(self, load: Load, places: Mapping[str, str], workers: int, limits: Limits) -> None:
        self.limits, self.closing = limits, False
        self._load, self._places, self._count = load, dict(places), workers
        self._queue: deque[Job] = deque()
        self._change, self._starting = threading.Condition(), threading.Lock()
        self._mean_seconds = 1.0
        self._slots: list[_Slot] = []

    def start(self) -> Mapping[str, Any]:
        """Start all workers and wait until their models are loaded.

        Returns:
            For each model what `worker.facts` says.

        Raises:
            ContextMixError: If a model cannot be loaded.
        """
        self._slots = [_Slot(self) for _ in range(self._count)]
        try:
            for slot in self._slots:
                slot.begin()
            facts = [slot.wait() for slot in self._slots]
        except BaseException:
            for slot in self._slots:
                slot.end()
            raise
        for slot in self._slots:
            slot.start()
        return dict(facts[0])

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue.

        Raises:
            Full: If the queue is.
        """
        with self._change:
            if len(self._queue) >= self.limits.queue:
                raise Full(min(60, max(1, math.ceil(len(self._queue) * self._mean_seconds / self._count))))
            self._queue.append(job)
            self._change.notify()

    def ahead(self, job: Job) -> int:
        """How many wait before it."""
        with self._change:
            return next((place for place, other in enumerate(self._queue) if other is job), 0)

    def cancel(self, job: Job) -> None:
        """Nobody wants it any more: it leaves the queue, or its worker stops."""
        job.stop.set()
        with self._change:
            if job in self._queue:
                self._queue.remove(job)

    def close(self) -> None:
        """End all processes."""
        with self._change:
            self.closing = True
            self._change.notify_all()
        for slot in self._slots:
            slot.kill()
        for slot in self._slots:
            if slot.ident is not None:
                slot.join(5.0)

    def processes(self) -> list[int]:
        """The ids of the worker processes."""
        return [slot.process.pid for slot in self._slots if slot.process is not None and slot.process.pid is not None]

    # For the slots ---------------------------------------------------------------------------------------------------

    def connect(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        """A new worker process, which begins to load."""
        own, theirs = multiprocessing.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self._count)
        given = (theirs, self._load, self._places, self.limits.answer_bytes, threads)
        with self._starting:
            process = _context().Process(target=work, args=given, daemon=True)
            process.start()
        theirs.close()  # the worker has its own; so that its end is seen here
        return process, own

    def next(self) -> Job | None:
        """The next job, once there is one; None when the pool closes."""
        with self._change:
            while not self._queue and not self.closing:
                self._change.wait()
            return None if self.closing else self._queue.popleft()

    def note(self, seconds: float) -> None:
        """How long a job took, for the guess when to come back."""
        with self._change:
            self._mean_seconds += 0.1 * (seconds - self._mean_seconds)


def warm() -> None:
    """Begin to import what workers need, in a process beside this one, which can import in the meantime."""
    if _context().get_start_method() == "forkserver":
        forkserver.ensure_running()


@lru_cache(maxsize=1)
def _context() -> Any:
    """How processes are started: on Linux as forks of one that has done nothing but import, which is quick."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["contextmix.api", "contextmix.views.pages", "contextmix.serve.worker"])
    return context


class _Slot(threading.Thread):
    """One worker process, its successors, and the thread that watches them."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(daemon=True)
        self.pool = pool
        self.process: multiprocessing.process.BaseProcess | None = None
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
                "A worker process ended while it loaded its models; is there enough memory?"
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
            if self._revive():  # it may have died while it had nothing to do
                self._serve(job)
            else:
                job.fail("The models cannot be loaded again. The terminal of the server says why.")
        self.end()

    def _revive(self) -> bool:
        """Make sure that there is a process with its models loaded; False if they cannot be loaded any more."""
        if self.process is not None and self.process.is_alive():
            return True
        self.end()
        try:
            self.begin()
            self.wait()
        except ContextMixError as refusal:
            self.end()
            if not self.pool.closing:
                print(f"contextmix: {refusal}", file=sys.stderr)
            return False
        return True

    def _serve(self, job: Job) -> None:
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
            job.fail("The worker process ended before it had an answer, perhaps for lack of memory. Ask for less.")
        finally:
            watchdog.cancel()
            job.seconds = time.monotonic() - began
            self.pool.note(job.seconds)

    def _converse(self, job: Job, deadline: float) -> bool:
        """Send a request and read until it is over; False if the worker does not stop though it should."""
        assert self.connection is not None
        self.connection.send_bytes(json.dumps(job.request, ensure_ascii=False).encode())
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
                        f"It took longer than the {limit:g} s that this server allows. Ask for less, or a shorter text."
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
