"""Where requests become jobs: begun, looked up, cancelled, fetched; the same for explorations and for answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

from contextmix.errors import ContextMixError
from contextmix.serve.documents import Exploration
from contextmix.serve.jobs import Job, Kind, Shelf
from contextmix.serve.pool import Pool


class Missing(Exception):
    """No job of that kind and id.

    Attributes:
        kind: What was looked for.
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.kind = kind


class NoAnswer(ContextMixError):
    """A job that has no answer."""


@dataclass(frozen=True)
class Desk:
    """The queue and the shelf, for jobs of one kind.

    Attributes:
        pool: Started.
        shelf: Where jobs are kept.
        kind: Of the jobs; one of another kind is not found here.
    """

    pool: Pool
    shelf: Shelf
    kind: Kind

    def begin(self, request: Mapping[str, Any]) -> Job:
        """Put a checked request into the queue."""
        job = Job(request, self.kind)
        self.pool.submit(job)
        self.shelf.put(job)
        return job

    def found(self, name: str) -> Job:
        """The job of an id.

        Raises:
            Missing: If there is none.
        """
        job = self.shelf.get(name)
        if job is None or job.kind != self.kind:
            raise Missing(self.kind)
        return job

    def status(self, job: Job) -> Exploration:
        """Where it stands."""
        state = job.state  # read first: whoever sees "done" finds the rest
        ahead = self.pool.ahead(job) if state == "queued" else 0
        told = {"progress": job.progress, "what": job.what, "reason": job.reason, "field": job.about}
        return Exploration(id=job.id, state=state, ahead=ahead, **told)  # type: ignore[arg-type]

    def cancel(self, name: str) -> None:
        """Stop it, or forget it."""
        self.pool.cancel(self.found(name))
        self.shelf.drop(name)

    def answered(self, name: str) -> tuple[Job, bytes]:
        """A finished job, and what came out.

        Raises:
            NoAnswer: If nothing did, or not yet.
        """
        job = self.found(name)
        if job.answer is None:
            raise NoAnswer(job.reason or f"The {self.kind} is not finished yet.")
        return job, job.answer


async def only_json(request: Request) -> None:
    """Any site can send a form or a plain text without asking, but not JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send JSON, with the header Content-Type: application/json.")
