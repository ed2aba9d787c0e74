"""Worker processes, each watched by a thread: what is slow, stuck or unwanted is stopped, and the others go on."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from contextmix.processes.start import start
from contextmix.serve.jobs import Job
from contextmix.serve.limits import Limits
from contextmix.serve.slots import Slot
from contextmix.serve.worker import Load, work

MODULES = ("contextmix.models.verbs", "contextmix.views.page.pages", "contextmix.serve.worker")
"""What a worker process needs."""


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
        self._change = threading.Condition()
        self._mean_seconds = 1.0
        self._slots: list[Slot] = []

    def start(self) -> Mapping[str, Any]:
        """Start all workers and wait until their models are loaded.

        Returns:
            For each model what `worker.facts` says.

        Raises:
            ContextMixError: If a model cannot be loaded.
        """
        self._slots = [Slot(self) for _ in range(self._count)]
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

    def connect(self) -> tuple[BaseProcess, Connection]:
        """A new worker process, which begins to load."""
        threads = max(1, (os.cpu_count() or 1) // self._count)
        return start(work, self._load, self._places, self.limits.answer_bytes, threads, modules=MODULES)

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
