"""Several processes, each with its own model: shards are handed out one by one, and a process that dies is replaced.

Parent and worker talk through a pipe. A worker says None when it wants something to do, an `Advance` when rows are
done, a number when a shard is finished, and an exception when it cannot go on. It gets the job first, then the numbers
of shards, None when there is none to be had now, and `_STOP`. A closed pipe says that the other one is gone.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import queue
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from contextmix.datasets.running.job import Job
from contextmix.datasets.running.stopping import stoppable
from contextmix.datasets.running.work import Advance, Report, Work
from contextmix.errors import ContextMixError, Interrupted
from contextmix.processes.start import start

TRIES = 3
"""So many processes may die at one shard."""
MODULES = (__name__,)
"""What a worker needs."""
_STOP = "stop"
_POLL = 0.2
"""Seconds until a signal to stop is noticed."""


class WorkersDied(ContextMixError):
    """Processes that died again and again, at the same rows or before they began."""


def in_processes(
    job: Job,
    workers: int,
    work: Work,
    identity: Mapping[str, Any],
    shards: Sequence[int],
    report: Report,
    stopped: Callable[[], bool],
) -> Iterator[int]:
    """Finish shards in several processes; the threads of torch are divided among them.

    The same number of threads gives the same bits. Another one moves scores by about 3e-7 of their size, as sums are
    then added up in another order: it is set by ``OMP_NUM_THREADS`` or `torch.set_num_threads`.

    Args:
        job: What each process takes up. Of the device ``"cuda"``, each gets another GPU, if there are several.
        workers: How many processes; no more are started than there are shards.
        work: The same in this process, where it is not run.
        identity: What the model must be.
        shards: Numbers of shards.
        report: Told of every batch. What is lost with a process that dies is told as a negative advance.
        stopped: Whether to stop; asked several times a second.

    Yields:
        The shards as they are finished, in no order.

    Raises:
        Interrupted: If it was told to stop; what was measured is kept.
        WorkersDied: If `TRIES` processes died at the same shard.
        ContextMixError: What a worker raised.
    """
    return _Crew(job, workers, identity, shards, report).finished(stopped)


# In the process that began the run -----------------------------------------------------------------------------------


class _Worker:
    """A process as its parent sees it: what it has in hand, and what it told about that."""

    def __init__(self, place: int, threads: int) -> None:
        self.place, self.threads = place, threads
        self.hand: list[int] = []
        self.told: list[Advance] = []
        self.begun = self.dismissed = False
        self.process, self.pipe = start(_serve, threads, modules=MODULES, name=f"contextmix-{place}")

    def say(self, message: Any) -> None:
        """Send something; that the process is gone is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self.pipe.send(message)


class _Crew:
    """All workers, and the shards that are left."""

    def __init__(
        self, job: Job, workers: int, identity: Mapping[str, Any], shards: Sequence[int], report: Report
    ) -> None:
        self.job, self.identity, self.report = job, identity, report
        self.left = deque(shards)
        self.deaths: Counter[int | None] = Counter()
        self.end: Exception | None = None
        self.size = min(workers, len(shards))
        self.team: list[_Worker] = []

    def finished(self, stopped: Callable[[], bool]) -> Iterator[int]:
        """Hear what workers say until the last one is gone."""
        try:
            for place in range(self.size):
                self.team.append(_Worker(place, max(1, torch.get_num_threads() // self.size)))
            while self.team:
                if stopped() and self.end is None:
                    self.stop(Interrupted("The run was stopped."))
                ready = wait([one.pipe for one in self.team], _POLL)
                for one in [one for one in self.team if one.pipe in ready]:
                    yield from self.hear(one)
        finally:
            for one in self.team:  # only after a second Ctrl-C or a defect of ours
                one.process.kill()
                one.process.join()
        if self.end is not None:
            raise self.end

    def hear(self, one: _Worker) -> Iterator[int]:
        """One message of a worker; a shard if it is finished."""
        try:
            message = one.pipe.recv()
        except (EOFError, OSError):
            self.gone(one)
            return
        if message is None:
            self.answer(one)
        elif isinstance(message, Advance):
            one.told.append(message)
            self.report(message)
        elif isinstance(message, int):
            one.hand.remove(message)
            one.told.clear()
            yield message
        else:
            self.stop(message)

    def answer(self, one: _Worker) -> None:
        """Give a worker the job, or a shard. One more than it is at is for reading ahead, where there are plenty."""
        if not one.begun:
            one.begun = True
            one.say((replace(self.job, device=_device(self.job.device, one.place)), self.identity))
        elif self.left and (not one.hand or len(self.left) > len(self.team)):
            one.hand.append(self.left.popleft())
            one.say(one.hand[-1])
        else:
            one.dismissed = not one.hand
            one.say(None)

    def stop(self, end: Exception) -> None:
        """Have everyone put what is measured on the disk and leave; who has nothing in hand has nothing to keep."""
        self.end = self.end or end
        self.left.clear()
        for one in self.team:
            if one.hand:
                one.say(_STOP)
            else:
                one.process.kill()

    def gone(self, one: _Worker) -> None:
        """A worker has left; where it should not have, another takes its place."""
        self.team.remove(one)
        one.process.join()
        one.pipe.close()
        if one.dismissed or self.end is not None:
            return
        for told in one.told:
            self.report(replace(told, texts=-told.texts, tokens=-told.tokens, failed=-told.failed))
        self.deaths.update(one.hand or (None,))
        self.left.extendleft(reversed(one.hand))
        code = one.process.exitcode or 0
        if code > 0 and not one.begun:
            self.stop(WorkersDied("A worker process ended before it started; see its own message above."))
        elif max(self.deaths.values()) >= TRIES:
            self.stop(WorkersDied(self.said(one.hand, code)))
        else:
            self.team.append(_Worker(one.place, one.threads))

    def said(self, shards: Sequence[int], code: int) -> str:
        """What is known of processes that died."""
        size, count = self.job.settings.shard_size, self.job.source.count
        rows = [f"rows {shard * size} to {min((shard + 1) * size, count) - 1}" for shard in shards]
        where = f"at {' and '.join(rows)}" if rows else "before they began"
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return (
            f"{TRIES} worker processes died {where}, the last "
            f"one {how}. The usual cause of SIGKILL is too little memory: each worker has its own model, so use "
            f"fewer workers or a smaller memory_budget. Finished results are kept."
        )


def _device(device: str | None, place: int) -> str | None:
    count = torch.cuda.device_count() if device == "cuda" else 0
    return f"cuda:{place % count}" if count > 1 else device


# In the worker -------------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, threads: int) -> None:
    """What a worker does from beginning to end."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    end = threading.Event()
    threading.Thread(target=_listen, args=(pipe, answers, end), name="contextmix-listener", daemon=True).start()

    def ask() -> Any:
        pipe.send(None)
        return answers.get()

    with stoppable() as told:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            torch.set_num_threads(threads)
            job, identity = ask()
            with contextlib.redirect_stderr(io.StringIO()):  # its parent has loaded the same and said so
                work = job.work(identity)
            while (number := ask()) is not None:
                shards = chain([number], iter(ask, None))
                for finished in work.run(shards, pipe.send, lambda: told() or end.is_set()):
                    pipe.send(finished)
        except Exception as failure:
            pipe.send(sendable(failure))


def _listen(pipe: Connection, answers: queue.SimpleQueue[Any], end: threading.Event) -> None:
    """Hear the parent at any time. If it is gone, end at once: another run may begin to write in the same folder."""
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        if message == _STOP:
            end.set()
        else:
            answers.put(message)


def sendable(failure: Exception) -> Exception:
    """An exception that survives the way through a pipe, with its traceback where it is no refusal but a defect."""
    if isinstance(failure, ContextMixError):
        return failure
    try:
        found = copy.copy(failure)  # takes the same way: some cannot be made again from what they hold
    except Exception:
        found = RuntimeError(f"{type(failure).__name__}: {failure}")
    found.add_note("In a worker process:\n" + "".join(traceback.format_exception(failure)))
    return found
