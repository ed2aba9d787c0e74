"""The FastAPI application: what can be asked, and how it is answered."""

from __future__ import annotations

import json
import logging
from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from contextmix import __version__
from contextmix.serve.answers import add_answers
from contextmix.serve.asking import Asking, NotAcceptable
from contextmix.serve.desk import Desk, Missing, NoAnswer, only_json
from contextmix.serve.documents import Asked, Exhibit, Exploration, Health, MethodFacts, ModelFacts
from contextmix.serve.jobs import Shelf
from contextmix.serve.pool import Full, Pool
from contextmix.serve.refusals import refusal, said, saved
from contextmix.views.page.report import Section, report

_PAGE = {  # the whole of what is served from files: address → file of the package, and what it is
    "/": ("serve/static/index.html", "text/html; charset=utf-8"),
    "/page.css": ("serve/static/page.css", "text/css; charset=utf-8"),
    "/page.js": ("serve/static/page.js", "text/javascript; charset=utf-8"),
    "/explorer.js": ("views/page/explorer/explorer.js", "text/javascript; charset=utf-8"),
    "/answer.js": ("views/page/answer/answer.js", "text/javascript; charset=utf-8"),
}


def application(pool: Pool, asking: Asking, shelf: Shelf) -> FastAPI:
    """The application, without the guard around it.

    Args:
        pool: Started.
        asking: What can be asked for.
        shelf: For explorations.
    """
    app = FastAPI(
        title="contextmix",
        version=__version__,
        description="Which tokens made this? Explore texts with a server on this machine.",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=said(400, 403, 408, 413, 503),
    )
    _add_refusals(app)
    _add_page(app)
    _add_facts(app, asking)
    _add_explorations(app, Desk(pool, shelf, "exploration"), asking)
    if any(model.answers for model in asking.models):
        add_answers(app, Desk(pool, shelf, "answer"), asking)
    app.openapi_schema = _described(app, asking)
    return app


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return refusal(400, "The body is not JSON.")
        place = [str(part) for part in first["loc"] if part != "body"]
        where = ".".join(place)
        return refusal(422, f"{where or 'The body'}: {first['msg']}.", place[0] if place else None)

    @app.exception_handler(NotAcceptable)
    async def not_acceptable(_: Request, error: NotAcceptable) -> Response:
        return refusal(422, error.reason, error.field)

    @app.exception_handler(Full)
    async def full(_: Request, error: Full) -> Response:
        reason = f"The queue of this server is full. Try again in {error.seconds} s."
        return refusal(503, reason, headers={"Retry-After": str(error.seconds)})

    @app.exception_handler(Missing)
    async def missing(_: Request, error: Missing) -> Response:
        return refusal(404, f"There is no such {error.kind}: it was cancelled, has expired, or never existed.")

    @app.exception_handler(NoAnswer)
    async def no_answer(_: Request, error: NoAnswer) -> Response:
        return refusal(409, str(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        sentences = {404: "Nothing exists at this address.", 405: "This address does not support this method."}
        headers = {"Allow": _allowed(app, request)} if error.status_code == 405 else error.headers
        return refusal(error.status_code, sentences.get(error.status_code, str(error.detail)), None, headers)

    @app.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> Response:
        logging.getLogger("uvicorn.error").error("A bug in contextmix:", exc_info=error)
        return refusal(500, "Something went wrong inside contextmix. See the server's terminal for details.")


def _allowed(app: FastAPI, request: Request) -> str:
    """The methods of all routes of an address; Starlette names those of the first one only."""
    routes = [
        route for route in app.routes if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE
    ]
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _add_page(app: FastAPI) -> None:
    def sends(file: str, kind: str) -> Any:
        async def send() -> Response:
            content = files("contextmix").joinpath(file).read_bytes()
            return Response(content, headers={"content-type": kind, "cache-control": "no-cache"})

        return send

    for address, (file, kind) in _PAGE.items():
        app.add_api_route(address, sends(file, kind), include_in_schema=False)


def _add_facts(app: FastAPI, asking: Asking) -> None:
    @app.get("/health", tags=["server"])
    async def health() -> Health:
        """Whether the server is there."""
        return Health(version=__version__)

    @app.get("/api/models", tags=["server"])
    async def models() -> list[ModelFacts]:
        """The models that the server was started with."""
        return asking.models

    @app.get("/api/methods", tags=["server"])
    async def methods() -> list[MethodFacts]:
        """All methods, with formula, paper and cost."""
        return asking.methods


def _add_explorations(app: FastAPI, desk: Desk, asking: Asking) -> None:
    @app.post(
        "/api/explorations",
        status_code=202,
        responses=said(415, 422),
        dependencies=[Depends(only_json)],
        tags=["explorations"],
    )
    async def explore(asked: Asked, response: Response) -> Exploration:
        """Begin to explore a text. What is asked for is checked first; the answer says where to look for progress."""
        job = desk.begin(await asking.accepted(asked))
        response.headers["Location"] = f"/api/explorations/{job.id}"
        return desk.status(job)

    @app.get("/api/explorations/{id}", responses=said(404), tags=["explorations"])
    async def progress(id: str) -> Exploration:
        """Where an exploration stands."""
        return desk.status(desk.found(id))

    @app.delete("/api/explorations/{id}", status_code=204, responses=said(404), tags=["explorations"])
    async def cancel(id: str) -> None:
        """Stop an exploration, or forget a finished one."""
        desk.cancel(id)

    @app.get("/api/explorations/{id}/exhibit", response_model=Exhibit, responses=said(404, 409), tags=["explorations"])
    async def exhibit(id: str) -> Response:
        """The answer, as the explorer shows it."""
        return Response(desk.answered(id)[1], media_type="application/json")

    @app.get(
        "/api/explorations/{id}/report",
        response_class=Response,
        responses={**said(404, 409), 200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
        tags=["explorations"],
    )
    async def page(id: str) -> Response:
        """The answer as a page that stands alone, to be saved."""
        job, answer = desk.answered(id)
        return saved(await run_in_threadpool(lambda: report([Section(json.loads(answer), job.still)])))


def _described(app: FastAPI, asking: Asking) -> dict[str, Any]:
    """The OpenAPI description, with the names that exist here in place of any text."""
    described = app.openapi()
    schemas = described["components"]["schemas"]
    asked = schemas["Asked"]["properties"]
    asked["model"]["enum"] = [model.name for model in asking.models]
    if "AskedAnswer" in schemas:
        answer = schemas["AskedAnswer"]["properties"]
        answer["model"]["enum"] = [model.name for model in asking.models if model.answers]
        answer["method"]["enum"] = [method.name for method in asking.methods]
    asked["methods"]["items"]["enum"] = [method.name for method in asking.methods]
    asked["methods"]["uniqueItems"] = True
    return described
