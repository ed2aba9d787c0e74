"""The API of a running server: right answers, refusals in words, many at once, and stuck ones that hold up nobody."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serve.conftest import LONG, SECONDS, Served, wait_for

import contextmix as cm
from contextmix.serve.guard import HEADERS
from contextmix.views.page import report

FILM = "a deep and meaningful film ."


def ask(served: Served, method: str, path: str, **more: Any) -> httpx.Response:
    return httpx.request(method, served.address + path, timeout=30, **more)


def expected(text: Any, *methods: str, **more: Any) -> dict[str, Any]:
    """What `model.explore` gives, as JSON."""
    return json.loads(json.dumps(cm.load("demo").explore(text, methods, **more).to_exhibit()))


# Answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (FILM, {"query": "film", "target": "negative", "against": "positive"}),
        ("<script>alert(1)</script> \u202e\u200b\U0001f600 \"'&", {"heads": True}),
        ({"text": "a good film", "text_pair": "a bad one"}, {"query": -1}),
    ],
)
def test_the_answer_is_what_explore_gives(served: Served, text: Any, more: dict[str, Any]):
    methods = ("globenc", "attention", "gradient_inputs")
    first, second = (text, None) if isinstance(text, str) else text.values()
    found = served.exhibit(served.begin(first, methods, pair=second, **more))
    own = {key: value for key, value in more.items() if key not in ("target", "against")}
    contrast = {"target": (more["target"], more["against"])} if "target" in more else {}
    assert found == expected(text, *methods, **own, **contrast)


@pytest.mark.parametrize("add", [None, True, False])
def test_special_tokens_are_added_as_asked(served: Served, add: bool | None):
    text = "[CLS] a good film [SEP]"
    found = served.exhibit(served.begin(text, ("globenc",), add_special_tokens=add))
    assert found == expected(text, "globenc", add_special_tokens=add)
    assert len(found["keys"]["pieces"]) == (7 if add else 5)


def test_the_report_is_the_answer_in_a_page_of_its_own(served: Served):
    name = served.begin("</script><script>alert(1)</script>", ("globenc",))
    found = served.exhibit(name)
    answer = ask(served, "GET", f"/api/explorations/{name}/report")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert str(report.embedded(found)) in answer.text
    assert "alert(1)</script>" not in answer.text


def test_what_there_is_can_be_asked(served: Served):
    models = {model["name"]: model for model in ask(served, "GET", "/api/models").json()}
    assert models["demo"]["labels"] == ["negative", "positive"]
    assert (models["demo"]["causal"], models["demo-decoder"]["causal"]) == (False, True)
    assert models["demo-decoder"]["labels"] == []
    methods = ask(served, "GET", "/api/methods").json()
    table = cm.methods()
    assert {(one["name"], one["formula"], one["cost"]) for one in methods} == {
        (name, row["formula"], row["cost"]) for name, row in table.iterrows()
    }
    assert ask(served, "GET", "/health").json() == {"status": "ok", "version": cm.__version__}


def test_the_page_needs_nothing_from_elsewhere(served: Served):
    page = ask(served, "GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "http:" not in page.text
    assert "https:" not in page.text
    for path in ("/page.js", "/page.css", "/explorer.js"):
        assert ask(served, "GET", path).status_code == 200
    for path in ("/docs", "/redoc", "/static/../app.py", "/..%2fapp.py", "/page.js/"):
        assert ask(served, "GET", path, follow_redirects=False).status_code == 404


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"methods": ["globnc"]}, "methods", "Did you mean 'globenc'"),
        ({"methods": []}, "methods", "at least 1"),
        ({"methods": ["globenc", "globenc"]}, "methods", "twice"),
        ({"model": "bert"}, "model", "Known: demo, demo-decoder"),
        ({"model": "/etc"}, "model", "Known: demo, demo-decoder"),
        ({"text": " \n"}, "text", "empty"),
        ({"text": 5}, "text", "string"),
        ({"text": "\ud800"}, "text", "unicode"),
        ({"text": LONG * 2}, "text", "at most 256"),
        ({"pair": "\u200b"}, "pair", ""),
        ({"query": "flm"}, "query", "Did you mean 'film'"),
        ({"query": 10**30}, "query", "no token at position"),
        ({"query": 1.5}, "query", "valid"),
        ({"target": "positive"}, "target", "gradient_inputs"),
        ({"against": "positive"}, "against", "target"),
        ({"heads": True}, "heads", "attention"),
        ({"heads": "yes"}, "heads", "boolean"),
        ({"truncate": True}, "truncate", "Extra"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(served: Served, change: dict[str, Any], field: str, words: str):
    body = {"model": "demo", "text": FILM, "methods": ["globenc"], **change}
    answer = ask(
        served, "POST", "/api/explorations", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    if field == "pair":  # a token for it or none: it may be read
        assert answer.status_code in (202, 422)
        return
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert words in answer.json()["reason"]


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 60_000, b"\xff\xfe", b'{"text": 1' + b"0" * 5000 + b"}"])
def test_what_is_not_json_is_refused(served: Served, content: bytes):
    answer = ask(served, "POST", "/api/explorations", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert "Traceback" not in answer.text
    assert answer.json()["reason"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_any_site_may_send_without_asking_is_refused(served: Served, kind: str):
    body = json.dumps({"model": "demo", "text": FILM, "methods": ["globenc"]})
    answer = ask(served, "POST", "/api/explorations", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["reason"]


def test_what_only_the_model_knows_is_said_later(served: Served):
    found = served.until(served.begin(FILM, ("gradient_inputs",), target="neutral"), "failed")
    assert found["field"] == "target"
    assert "neutral" in found["reason"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/explorations/nothing", 404),
        ("GET", "/api/explorations/nothing/exhibit", 404),
        ("DELETE", "/api/explorations/nothing", 404),
        ("GET", "/api/explorations", 405),
        ("OPTIONS", "/api/explorations", 405),
        ("GET", "/nothing", 404),
    ],
)
def test_every_refusal_has_a_reason_and_the_headers_of_safety(served: Served, method: str, path: str, status: int):
    answer = ask(served, method, path)
    assert answer.status_code == status
    assert answer.json()["reason"]
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


# Many, slow and stuck ones -------------------------------------------------------------------------------------------


@pytest.mark.campaign
def test_two_hundred_at_once_are_all_answered_rightly(served: Served):
    words = ("good", "bad", "long", "deep", "dull", "thin", "fine", "warm")

    async def one(client: httpx.AsyncClient, number: int) -> tuple[int, dict[str, Any]]:
        text = f"a {words[number % 8]} film {number}"
        while True:
            body = {"model": "demo", "text": text, "methods": ["globenc"]}
            begun = await client.post("/api/explorations", json=body)
            if begun.status_code != 503:
                break
            await asyncio.sleep(int(begun.headers["retry-after"]))
        assert begun.status_code == 202, begun.text
        place = begun.headers["location"]
        while (now := (await client.get(place)).json())["state"] in ("queued", "running"):
            await asyncio.sleep(0.5)
        assert now["state"] == "done", now
        return number, (await client.get(f"{place}/exhibit")).json()

    async def all_of_them() -> list[tuple[int, dict[str, Any]]]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=served.address, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(one(client, number) for number in range(200)))

    found = asyncio.run(all_of_them())
    assert [answer["title"] for _, answer in found] == [f"a {words[n % 8]} film {n}" for n in range(200)]
    for number, answer in found[::25]:
        assert answer == expected(f"a {words[number % 8]} film {number}", "globenc")


@pytest.mark.campaign
def test_a_stuck_worker_holds_up_nobody_and_is_replaced(served: Served):
    wait_for(lambda: len(served.workers()) == 2, "both workers")
    stuck = served.workers()[0]
    os.kill(stuck, signal.SIGSTOP)  # no polite signal and no request to stop reaches it now
    names = [served.begin(FILM) for _ in range(4)]
    states: list[str] = []

    def settled() -> bool:
        states[:] = [served.status(name).json()["state"] for name in names]
        return sorted(states) == ["done", "done", "done", "running"]

    wait_for(settled, "all but the stuck one")
    victim = names[states.index("running")]
    assert served.status(victim).json()["state"] == "running"
    told = served.until(victim, "failed")
    assert f"exceeded the time limit of {SECONDS:g} s" in told["reason"]
    wait_for(lambda: stuck not in served.workers() and len(served.workers()) == 2, "another worker in its place")
    assert served.exhibit(served.begin(FILM)) == expected(FILM, "globenc")


def test_a_worker_that_died_while_idle_costs_no_answer(served: Served):
    wait_for(lambda: len(served.workers()) == 2, "both workers")
    for worker in served.workers():
        os.kill(worker, signal.SIGKILL)
    assert served.exhibit(served.begin(FILM)) == expected(FILM, "globenc")


def test_a_slow_one_that_is_cancelled_really_stops(served: Served):
    before = served.workers()
    name = served.begin(LONG, ("hta",))
    wait_for(lambda: served.status(name).json()["what"] == "hta, layer 1 of 3", "the first step")
    began = time.monotonic()
    assert ask(served, "DELETE", f"/api/explorations/{name}").status_code == 204
    assert served.status(name).status_code == 404
    wait_for(lambda: set(served.workers()) != set(before), "the process to be ended", 10)  # a layer takes seconds
    assert time.monotonic() - began < 5
    assert served.exhibit(served.begin(FILM))["title"] == FILM


@pytest.mark.campaign
def test_the_limit_of_time_holds_for_what_is_merely_slow(served: Served):
    told = served.until(served.begin(LONG, ("integrated_gradients", "occlusion", "hta")), "failed")
    assert "exceeded the time limit" in told["reason"]
    assert told["progress"] < 1


# What nobody would ask -----------------------------------------------------------------------------------------------


@pytest.mark.campaign
def test_the_description_is_true_and_nothing_breaks_the_server(served: Served, tmp_path: Path):
    """Schemathesis: edge cases of every field, random requests, and sequences of them, always the same ones."""
    # A text or a token that does not fit the model is refused with 422, which a schema cannot say beforehand.
    options = ["--max-examples", "5", "--seed", "1", "--exclude-checks", "positive_data_acceptance", "--no-color"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.address}/openapi.json", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "Tested: 14" in done.stdout
