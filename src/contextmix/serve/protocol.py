"""uvicorn's HTTP protocol with the bounds that it lacks.

uvicorn waits without end for a client that connects and sends nothing, or a header line every minute, or does not read
its answer; and it counts connections only when a request is complete. Here each connection has a time by which it must
have sent one whole request and taken the answer, and those over the limit are refused at once.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from contextmix.serve.guard import with_defaults
from contextmix.serve.limits import Limits

_SPARE = 64
"""Connections over the limit that are told so; beyond that they are cut off without a word."""


def bounded(limits: Limits) -> type[H11Protocol]:
    """The protocol class of a server with these limits."""

    class Bounded(_Bounded):
        pass

    Bounded.limits = limits
    return Bounded


class _Bounded(H11Protocol):
    limits: Limits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._begun = self._idle = self._extended = self._too_many = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._too_many = len(self.connections) > self.limits.connections
        if len(self.connections) > self.limits.connections + _SPARE:
            transport.abort()
        else:
            self._until(1.0 if self._too_many else self.limits.request_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something of a request came."""
        if self.transport.is_closing():
            return
        if self._idle:
            self._idle = False
            self._until(self.limits.request_seconds)
        self._begun = True
        if self._too_many:
            self._end(503, "Service Unavailable", "Too many simultaneous connections.", "Retry-After: 1")
        else:
            super().data_received(data)

    def on_response_complete(self) -> None:
        """One request is answered; uvicorn ends what is idle for long, this what does not take the answer."""
        self._begun = self._extended = False
        self._idle = True
        self._until(self.limits.idle_seconds + self.limits.request_seconds)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is answered in JSON too."""
        self._end(400, "Bad Request", msg)

    def _until(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._extended:  # its body is late, which the guard says, or the answer is not taken
            self._extended = True
            self._until(self.limits.request_seconds)
        elif self._begun and not answering and not self.transport.is_closing():
            limit = self.limits.request_seconds
            self._end(408, "Request Timeout", f"The request was not complete after {limit:g} seconds.")
        else:
            self.transport.abort()

    def _end(self, status: int, phrase: str, reason: str, *headers: str) -> None:
        """Answer and close, whatever else comes; a client that does not take the answer is cut off."""
        body = json.dumps({"reason": reason, "field": None}).encode("ascii")
        own = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", *headers)
        rest = [f"{name.decode()}: {value.decode()}" for name, value in with_defaults(())]
        head = "\r\n".join((f"HTTP/1.1 {status} {phrase}", *own, *rest, "", ""))
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
        self._until(1.0)
