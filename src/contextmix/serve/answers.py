"""Answers and their sources over HTTP: the same jobs as explorations, looked at in any cut without another run."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from contextmix.errors import BadInput, BadOption
from contextmix.options.option import declared
from contextmix.options.spelling import token_of
from contextmix.options.verbs import Answering
from contextmix.results.answer import Answer
from contextmix.serve.asking import Asking, NotAcceptable
from contextmix.serve.desk import Desk, only_json
from contextmix.serve.documents import AskedAnswer, Exploration, ShownAnswer
from contextmix.serve.refusals import said, saved
from contextmix.views.page import answers as drawn


def _cut(name: str) -> Any:
    help_text = declared(Answering)[name].option.help
    return Query(description=f"{help_text} Default: as in the request.", max_length=20)


_Sources = Annotated[str | None, _cut("sources")]
_Units = Annotated[str | None, _cut("units")]


def add_answers(app: FastAPI, desk: Desk, asking: Asking) -> None:
    """The addresses of answers.

    Args:
        app: Gets them.
        desk: For answers.
        asking: What can be asked for.
    """

    @app.get("/answer.css", include_in_schema=False)
    async def looks() -> Response:
        return Response(drawn.sheet(), media_type="text/css", headers={"cache-control": "no-cache"})

    @app.post(
        "/api/answers", status_code=202, responses=said(415, 422), dependencies=[Depends(only_json)], tags=["answers"]
    )
    async def ask(asked: AskedAnswer, response: Response) -> Exploration:
        """Ask a question about texts, or what made a given answer. What is asked for is checked first."""
        job = desk.begin(await asking.accepted_answer(asked))
        response.headers["Location"] = f"/api/answers/{job.id}"
        return desk.status(job)

    @app.get("/api/answers/{id}", responses=said(404), tags=["answers"])
    async def progress(id: str) -> Exploration:
        """Where an answer stands."""
        return desk.status(desk.found(id))

    @app.delete("/api/answers/{id}", status_code=204, responses=said(404), tags=["answers"])
    async def cancel(id: str) -> None:
        """Stop an answer, or forget a finished one."""
        desk.cancel(id)

    async def cut(id: str, sources: str | None, units: str | None) -> Answer:
        content = desk.answered(id)[1]
        return await run_in_threadpool(lambda: _by(content, sources, units))

    @app.get("/api/answers/{id}/answer", response_model=None, responses=said(404, 409, 422), tags=["answers"])
    async def answer(id: str, sources: _Sources = None, units: _Units = None) -> Response:
        """The answer as the file that `contextmix.Answer.load` reads."""
        return JSONResponse((await cut(id, sources, units)).to_dict())

    @app.get("/api/answers/{id}/shown", response_model=ShownAnswer, responses=said(404, 409, 422), tags=["answers"])
    async def shown(id: str, sources: _Sources = None, units: _Units = None) -> Response:
        """The answer as the page shows it. Another cut costs no run of the model."""
        found = await cut(id, sources, units)
        return JSONResponse(await run_in_threadpool(lambda: drawn.fragment(found)))

    @app.get(
        "/api/answers/{id}/report",
        response_class=Response,
        responses={**said(404, 409, 422), 200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
        tags=["answers"],
    )
    async def page(id: str, sources: _Sources = None, units: _Units = None) -> Response:
        """The answer as a page that stands alone, to be saved."""
        found = await cut(id, sources, units)
        return saved(await run_in_threadpool(lambda: drawn.page(found)))


def _by(content: bytes, sources: str | None, units: str | None) -> Answer:
    """An answer in the cut that is asked for.

    Raises:
        NotAcceptable: If it cannot be cut so.
    """
    found = Answer.from_dict(json.loads(content))
    for name, way in (("sources", sources), ("units", units)):
        if way is not None:
            try:
                how: Any = {name: token_of(way)}
                found = found.by(**how)
            except (BadOption, BadInput) as refusal:
                raise NotAcceptable(str(refusal), name) from None
    return found
