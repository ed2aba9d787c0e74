"""Every bound of the server in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the server takes and keeps, so that no request can fill the memory or hold up the others.

    Attributes:
        tokens: The most tokens of a text, special ones included; a model that reads fewer has its own limit.
        seconds: The longest that one exploration may compute.
        queue: Explorations that may wait for a worker.
        body_bytes: The largest request body.
        connections: Connections at a time.
        request_seconds: The longest that a client may take to send one request, and then to take the answer.
        idle_seconds: How long a connection may wait for its next request; longer than clients keep theirs (5 s is
            usual), or both ends of one may cross.
        answer_bytes: The largest answer.
        kept: Finished explorations that are kept; the one that was looked at longest ago goes first.
        kept_bytes: Bytes of all kept answers.
        kept_seconds: How long one is kept after it was last looked at.
        stop_seconds: How long a worker may take to stop when asked, before its process is ended.
    """

    tokens: int = 512
    seconds: float = 120.0
    queue: int = 256
    body_bytes: int = 64 * 2**10
    connections: int = 400
    request_seconds: float = 10.0
    idle_seconds: int = 15
    answer_bytes: int = 64 * 2**20
    kept: int = 512
    kept_bytes: int = 512 * 2**20
    kept_seconds: float = 3600.0
    stop_seconds: float = 1.0
