"""The same work under Ray Data, on this machine or a cluster: actors hold the model and take shards."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlsplit

import torch

from contextmix.datasets.running.desk import Desk
from contextmix.datasets.running.job import Job
from contextmix.datasets.running.work import Advance, Report, Work
from contextmix.datasets.running.workers import TRIES, WorkersDied, sendable
from contextmix.errors import BadOption, Interrupted

OBJECT_STORE = 100 * 2**20
"""Bytes of the object store of a cluster that is started here: results go to files, so little passes through it."""
_POLL = 0.5
"""Seconds until a signal to stop is noticed, here and by the actors."""


def on_ray(
    job: Job,
    workers: int,
    address: str | None,
    work: Work,
    identity: Mapping[str, Any],
    shards: Sequence[int],
    report: Report,
    stopped: Callable[[], bool],
) -> Iterator[int]:
    """Finish shards under Ray Data. An actor that is lost is started again, and so are the shards that it had.

    The actors read the data and write the folder themselves. On a cluster both must lie on a file system that all
    nodes share under the same name, and contextmix must be installed on all of them in the same version.

    Args:
        job: What each actor takes up; on a CUDA device each has a GPU.
        workers: How many actors.
        address: Of a cluster; left out, one is started here and ended afterwards. If Ray is initialised already, that
            is used.
        work: The same in this process, where it is not run.
        identity: What the model must be.
        shards: Numbers of shards.
        report: Told of every shard.
        stopped: Whether to stop.

    Yields:
        The shards as they are finished, in no order.

    Raises:
        BadOption: If Ray is not installed, or the cluster cannot be reached.
        Interrupted: If it was told to stop; what was measured is kept.
        WorkersDied: If `TRIES` actors died at the same shard.
        ContextMixError: What an actor raised.
    """
    if not shards:
        return
    ray = _installed()
    threads = max(1, torch.get_num_threads() // workers) if address is None else 1
    with _connected(ray, address, workers), _quiet(ray), _desk(ray, stopped) as desk:
        gpu = (job.device or "").startswith("cuda")
        rows = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        results = rows.map_batches(
            _Actor,
            fn_constructor_args=(replace(job, device="cuda") if gpu else job, identity, threads, desk),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(shards)), max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=1 if gpu else 0,
        )
        left = set(shards)
        with _unwrapped(ray, desk):
            for row in results.iter_rows():
                shard, finished = row.pop("shard"), row.pop("finished")
                report(Advance(**row))
                if finished:
                    left.remove(shard)
                    yield shard
        if left:
            raise Interrupted("The run was stopped.")


# In the process that began the run -----------------------------------------------------------------------------------


def _installed() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as reason:
        raise BadOption(
            f'engine="ray" needs Ray Data, which is not installed here ({reason}). Run: pip install "contextmix[ray]"'
        ) from reason
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: str | None, workers: int) -> Iterator[None]:
    """A cluster: the one that this process has already, the one at the address, or a new one on this machine."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {"num_cpus": workers, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **({} if address else local))
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as reason:
        where = f"The Ray cluster at {address!r} cannot be reached" if address else "Ray cannot be started here"
        raise BadOption(f"{where}: {str(reason).splitlines()[0]}") from reason
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray puts its own there
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes."""
    place = urlsplit(f"//{(address or '').removeprefix('ray://')}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=10).close()


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Without the bars and lines of Ray Data: the run has its own."""
    context = ray.data.DataContext.get_current()
    logger = logging.getLogger("ray.data")
    before = context.enable_progress_bars, context.print_on_execution_start, logger.level
    context.enable_progress_bars = context.print_on_execution_start = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before[:2]
        logger.setLevel(before[2])


@contextlib.contextmanager
def _desk(ray: Any, stopped: Callable[[], bool]) -> Iterator[Any]:
    """Where all actors ask; it is told when the run is told to stop."""
    desk = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Desk).remote()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL):
            if stopped():
                desk.stop.remote()
                return

    watcher = threading.Thread(target=watch, name="contextmix-watcher", daemon=True)
    watcher.start()
    try:
        yield desk
    finally:
        over.set()
        watcher.join()
        ray.kill(desk)


@contextlib.contextmanager
def _unwrapped(ray: Any, desk: Any) -> Iterator[None]:
    """What an actor raised, as if it had been raised here; what Ray raises holds only its text."""
    try:
        yield
    except ray.exceptions.RayError:
        for failure in ray.get(desk.failed.remote()):
            raise failure from None
        raise


# In the actors -------------------------------------------------------------------------------------------------------


class _Actor:
    """Holds the model; each call finishes a shard."""

    def __init__(self, job: Job, identity: Mapping[str, Any], threads: int, desk: Any) -> None:
        torch.set_num_threads(threads)
        self.job, self.identity, self.desk = job, identity, desk
        self.work: Work | None = None
        self.asked, self.answer = 0.0, False

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """A shard → what was done, by an earlier process and by this one."""
        try:
            return self.finish(int(batch["shard"][0]))
        except Exception as failure:
            self.ask("fail", [sendable(failure)])
            raise

    def finish(self, shard: int) -> dict[str, list[Any]]:
        """The same, or an exception."""
        if self.work is None:  # not before: what is raised while an actor begins is not told
            self.work = self.job.work(self.identity)
        told = [Advance(0, 0, 0, earlier=True), Advance(0, 0, 0)]
        if self.ask("begin", shard) > TRIES:  # Ray itself would try for ever
            raise WorkersDied(
                f"{TRIES} actors died at shard {shard}. The usual cause is too little memory: use a smaller "
                f"memory_budget or fewer workers. Finished results are kept."
            )

        def add(new: Advance) -> None:
            place = 0 if new.earlier else 1
            old = told[place]
            texts, tokens, failed = old.texts + new.texts, old.tokens + new.tokens, old.failed + new.failed
            told[place] = replace(old, texts=texts, tokens=tokens, failed=failed)

        finished: list[int] = []
        with contextlib.suppress(Interrupted):
            finished = list(self.work.run([shard], add, self.stopped))
        rows = [{"shard": shard, "finished": False, **asdict(one)} for one in told]
        rows[-1]["finished"] = bool(finished)
        return {name: [row[name] for row in rows] for name in rows[0]}

    def stopped(self) -> bool:
        """Whether to stop; asked now and then only, as each question takes a moment."""
        if not self.answer and time.monotonic() - self.asked > _POLL:
            self.asked, self.answer = time.monotonic(), self.ask("stopped")
        return self.answer

    def ask(self, what: str, *about: Any) -> Any:
        """A question to the desk."""
        import ray

        return ray.get(getattr(self.desk, what).remote(*about))
