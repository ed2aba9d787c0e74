"""One exploration or answer on its way from request to result, and the shelf on which they are kept."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from contextmix.serve.limits import Limits

State = Literal["queued", "running", "done", "failed"]
Kind = Literal["exploration", "answer"]


@dataclass(eq=False)
class Job:
    """One exploration, or one answer. The thread of a worker writes it, the server reads it.

    Attributes:
        request: What was asked for, as plain JSON values.
        kind: What it is.
        id: Its name in the API; it cannot be guessed, so one who was not told it cannot read the text or the answer.
        state: Where it stands.
        progress: From 0 to 1.
        what: What is being computed.
        answer: The exhibit, or the file of an answer, as JSON, once it is done.
        still: What a saved page shows where no script runs, as HTML.
        reason: Why it failed, in a sentence.
        about: The part of the request that the reason is about; None if it is about none.
        stop: Set when nobody wants it any more.
        seconds: How long it computed.
    """

    request: Mapping[str, Any]
    kind: Kind = "exploration"
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: State = "queued"
    progress: float = 0.0
    what: str = ""
    answer: bytes | None = None
    still: str = ""
    reason: str | None = None
    about: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    seconds: float | None = None

    @property
    def size(self) -> int:
        """Bytes of its answer."""
        return len(self.answer or b"") + len(self.still)

    def finish(self, answer: bytes) -> None:
        """It is done; the state comes last, so that whoever sees it finds the answer."""
        self.answer, self.progress = answer, 1.0
        self.state = "done"

    def fail(self, reason: str, about: str | None = None) -> None:
        """It came to nothing, unless it is over already."""
        if self.state not in ("done", "failed"):
            self.reason, self.about = reason, about
            self.state = "failed"


class Shelf:
    """Explorations by their id: all that wait or run, and of the finished ones as many as the limits allow.

    Used from one thread, that of the server.

    Args:
        limits: How many, how large and how long.
        clock: Seconds that never go back.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._jobs: OrderedDict[str, tuple[Job, float]] = OrderedDict()  # the one looked at longest ago comes first

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Keep it, and drop what is too old or too much."""
        self._jobs[job.id] = (job, self._clock())
        self._tidy()

    def get(self, name: str) -> Job | None:
        """The exploration of this id, or None if it is not here (any more)."""
        self._tidy()
        found = self._jobs.get(name)
        if found is None:
            return None
        self._jobs[name] = (found[0], self._clock())
        self._jobs.move_to_end(name)
        return found[0]

    def drop(self, name: str) -> Job | None:
        """Take it off the shelf."""
        found = self._jobs.pop(name, None)
        return None if found is None else found[0]

    def _tidy(self) -> None:
        finished = [(name, job, seen) for name, (job, seen) in self._jobs.items() if job.state in ("done", "failed")]
        count, size = len(finished), sum(job.size for _, job, _ in finished)
        for name, job, seen in finished:
            old = self._clock() - seen > self._limits.kept_seconds
            if not old and count <= self._limits.kept and size <= self._limits.kept_bytes:
                continue
            del self._jobs[name]
            count, size = count - 1, size - job.size
