"""The same work under Ray Data, on this machine or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from contextmix.datasets.job import Job
from contextmix.datasets.work import Report, Work


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
    """Finish shards under Ray."""
    return work.run(shards, report, stopped)
