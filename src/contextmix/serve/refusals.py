"""How requests are answered in words: refusals, and pages to be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse, JSONResponse

from contextmix.serve.documents import Refusal

_SAID = {
    400: "Not HTTP, or not JSON.",
    403: "From another site, or addressed to another host.",
    404: "Unknown id: it was cancelled, has expired, or never existed.",
    408: "The request took too long to arrive.",
    409: "There is no answer, or not yet.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request asks for something that does not exist or cannot be done.",
    503: "The queue is full; the header Retry-After gives the seconds to wait.",
}


def said(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What the description of an address says of refusals."""
    return {code: {"model": Refusal, "description": _SAID[code]} for code in codes}


def refusal(status: int, reason: str, about: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says why there is none. Half a surrogate pair in a quoted text is escaped, as it is not UTF-8."""
    content = Refusal(reason=reason.encode("utf-8", "backslashreplace").decode(), field=about)
    return JSONResponse(content.model_dump(), status, headers)


def saved(page: str) -> Response:
    """A page that a browser saves and does not show."""
    content = page.encode("utf-8", "backslashreplace")
    return HTMLResponse(content, headers={"content-disposition": 'attachment; filename="contextmix.html"'})
