"""The outermost layer: only this machine's own page is answered, bodies are bounded, every answer has its headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from contextmix.serve.limits import Limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""On every answer, unless it has one of these of its own."""


class Refused(Exception):
    """A request that is not passed on.

    Attributes:
        status: Of the answer.
        reason: A sentence.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


class Guard:
    """An ASGI application around another one.

    Args:
        inner: It.
        port: On which the server listens.
        limits: Of the server.
    """

    def __init__(self, inner: Application, port: int, limits: Limits) -> None:
        self.inner, self.limits = inner, limits
        names = ("127.0.0.1", "localhost")
        self.hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return

        async def dressed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = with_defaults(message.get("headers", ()))
            await send(message)

        try:
            headers = _headers(scope)
            self._refuse_strangers(scope["path"], headers)
            body = await self._body(scope["method"], headers, receive)
        except Refused as refusal:
            await _answer(dressed, refusal)
            return
        if body is None:  # the client is gone
            return
        await self.inner(scope, _replayed(body, receive), dressed)

    def _refuse_strangers(self, path: str, headers: dict[str, str]) -> None:
        """A page of another site must reach nothing, also one whose name was made to point at this machine."""
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if host not in self.hosts:
            raise Refused(403, "This server only answers requests to its own local address.")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "This server does not answer requests from other sites.")
        if path.startswith("/api") and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Refused(403, "This server does not answer requests from other sites.")

    async def _body(self, method: str, headers: dict[str, str], receive: Receive) -> bytes | None:
        """The whole body of a POST; no other request has one that is looked at."""
        limit = self.limits.body_bytes
        length = headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 18 or int(length) > limit:
            raise Refused(413, f"The request is larger than the {limit} bytes that this server accepts.")
        if method != "POST":
            return b""
        try:
            return await asyncio.wait_for(_read(receive, limit), self.limits.request_seconds)
        except TimeoutError:
            raise Refused(408, f"The request was not complete after {self.limits.request_seconds:g} seconds.") from None


async def _read(receive: Receive, limit: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:  # also of a body that did not say its length
            raise Refused(413, f"The request is larger than the {limit} bytes that this server accepts.")
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `Receive` that gives a body which was read already, and then what else comes."""
    left = [body]

    async def again() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return again


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in found and key in ("host", "origin", "content-type", "content-length"):
            raise Refused(400, f"The header {key} appears twice.")
        found[key] = value.decode("latin-1")
    return found


def with_defaults(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers of an answer, with those of `HEADERS` that it does not have."""
    own = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in own}
    return own + [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in names]


async def _answer(send: Send, refusal: Refused) -> None:
    body = json.dumps({"reason": refusal.reason, "field": None}).encode("ascii")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the request is not read
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
