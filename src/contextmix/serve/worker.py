"""What a worker process does: load the models once, then explore one text after the other.

Messages are bytes with a letter in front and JSON behind it, never objects: nothing that is read here can be code.
To the worker: a request (JSON), or ``STOP``. From it: one of the letters below.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from contextmix.errors import (
    AmbiguousTarget,
    AmbiguousToken,
    BadInput,
    ContextMixError,
    NotInVocabulary,
    SourcesDoNotFit,
    TooLong,
    UnknownName,
    UnknownToken,
)

STOP = b"!"
READY, PROGRESS, STILL, ANSWER, FAILURE, STOPPED = b"Y", b"P", b"T", b"A", b"F", b"S"

Load = Callable[[str], Any]
"""From the name of a model to a `TracedModel`. A function of a module, so that another process can find it."""

_ABOUT: dict[type[ContextMixError], str] = {
    SourcesDoNotFit: "context",
    UnknownName: "target",  # of a class: names of methods were looked up before
    UnknownToken: "query",
    AmbiguousToken: "query",
    NotInVocabulary: "target",
    AmbiguousTarget: "target",
    BadInput: "text",
    TooLong: "text",
}
"""Which part of a request a refusal is about."""


class _Stop(BaseException):
    """Raised where progress is reported, when the answer is not wanted any more; no ``except Exception`` holds it."""


def work(connection: Connection, load: Load, places: Mapping[str, str], answer_bytes: int, threads: int) -> None:
    """Serve requests until the connection closes.

    Args:
        connection: To the server.
        load: How a model is loaded.
        places: Name of a model → what ``load`` takes.
        answer_bytes: The largest answer that is sent.
        threads: Of torch, as several workers share the cores.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the server ends its own
    try:
        import torch

        from contextmix.tracing.inputs.checkpoints import hide_progress_bars

        hide_progress_bars()
        torch.set_num_threads(threads)
        models = {name: _named(load(place), name) for name, place in places.items()}
        _send(connection, READY, {name: facts(model) for name, model in models.items()})
    except ContextMixError as refusal:
        _send(connection, FAILURE, {"reason": str(refusal)})
        return
    while True:
        try:
            asked = connection.recv_bytes()
            if asked != STOP:  # a late one: what it should have stopped is over
                _compute(connection, models, json.loads(asked), answer_bytes)
        except (EOFError, OSError):  # the server is gone
            return


def _named(model: Any, name: str) -> Any:
    """The model under the name that the server gives it: answers are passed on, and need not name folders."""
    model.origin = replace(model.origin, model=name)
    return model


def facts(model: Any) -> dict[str, Any]:
    """What a page must know of a model before it asks for anything."""
    from contextmix.models.explore import OF_CLASS, OF_SCORE  # with torch, which the process that listens does without
    from contextmix.models.one_stack import OneStack

    kind = type(model.model).__name__
    labels = (model.model.config.id2label or {}) if "Classification" in kind else {}
    usual, answers = list(OneStack(model).usual), _answers(model)
    return {
        "type": kind,
        "labels": [str(labels[number]) for number in sorted(labels)],
        "limit": model.limit,
        "causal": model.is_causal,
        "layers": len(model.anatomy()),
        "answers": answers,
        "usual": [OF_CLASS, *usual] if labels else [*usual, OF_SCORE] if answers else usual,
    }


def _answers(model: Any) -> bool:
    from contextmix.models.generate import refuse_other_models

    try:
        refuse_other_models(model.model)
    except ContextMixError:
        return False
    return True


def about(refusal: ContextMixError) -> str | None:
    """The part of a request that a refusal is about, or None."""
    return next((part for kind, part in _ABOUT.items() if isinstance(refusal, kind)), None)


def _compute(connection: Connection, models: Mapping[str, Any], request: Any, answer_bytes: int) -> None:
    def progress(fraction: float, what: str) -> None:
        if connection.poll():
            connection.recv_bytes()  # STOP, or the end of the server, which raises EOFError
            raise _Stop
        _send(connection, PROGRESS, {"progress": fraction, "what": what})

    is_answer = request["kind"] == "answer"
    try:
        found, still = (_answered if is_answer else _explored)(models[request["model"]], request, progress)
        answer = json.dumps(found, allow_nan=False, separators=(",", ":")).encode("ascii")
        if len(answer) > answer_bytes:
            less = (
                "fewer new tokens, or give shorter texts"
                if is_answer
                else "fewer methods, without heads, or for a shorter text"
            )
            raise ContextMixError(
                f"The answer would have {len(answer) / 2**20:.0f} MiB, but this server sends at most "
                f"{answer_bytes / 2**20:.0f}. Ask for {less}."
            )
    except _Stop:
        connection.send_bytes(STOPPED)
    except ContextMixError as refusal:
        field = about(refusal)
        _send(
            connection, FAILURE, {"reason": str(refusal), "field": None if is_answer and field != "context" else field}
        )
    except MemoryError:
        _send(connection, FAILURE, {"reason": "There is not enough memory for this. Ask for less, or a shorter text."})
    except (EOFError, OSError):
        raise
    except Exception:  # a defect: told to whoever runs the server, as its words may name files
        import traceback

        traceback.print_exc()
        reason = "Something went wrong inside contextmix. See the server's terminal for details."
        _send(connection, FAILURE, {"reason": reason})
    else:
        _send(connection, STILL, still)
        connection.send_bytes(ANSWER + answer)


def _explored(model: Any, request: Any, progress: Callable[[float, str], None]) -> tuple[Any, str]:
    """The exhibit of an exploration, and what a saved page shows where no script runs."""
    from contextmix.models.explore import FOR_AND_AGAINST
    from contextmix.views.page import pages

    pair = {"text": request["text"], "text_pair": request["pair"]}
    text = request["text"] if request["pair"] is None else pair
    asked = {name: request[name] for name in ("heads", "query", "target", "add_special_tokens")}
    if request["against"] is not None:
        asked["target"] = (request["target"], request["against"])
    able = FOR_AND_AGAINST if request["each_class"] else {}
    how = {name: able[name] for name in request["methods"] if name in able}
    found = model.explore(text, tuple(request["methods"]), progress=progress, options=how, **asked)
    return found.to_exhibit(), pages.still(found)


def _answered(model: Any, request: Any, progress: Callable[[float, str], None]) -> tuple[Any, str]:
    """The file of an answer; pages are made of it when they are asked for, in any cut."""
    asked = {name: value for name, value in request.items() if name not in ("kind", "model", "question", "context")}
    found = model.explain_answer(request["question"], request["context"] or None, progress=progress, **asked)
    return found.to_dict(), ""


def _send(connection: Connection, letter: bytes, content: Any) -> None:
    connection.send_bytes(letter + json.dumps(content).encode("ascii"))
