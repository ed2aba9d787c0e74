"""Answers over HTTP: asked once, looked at in any cut, refused in words."""

from typing import Any

import httpx
import numpy as np
import pytest
from tests.serve.conftest import Served

import contextmix as cm

TEXTS = ["Tom had a big dog. The sun was hot.", "Lily had a red ball."]
QUESTION = "Lily wanted to play with her"


def post(served: Served, **more: Any) -> httpx.Response:
    body = {"model": "demo-decoder", "question": QUESTION, "context": TEXTS, "max_new_tokens": 4, **more}
    return httpx.post(f"{served.address}/api/answers", json=body, timeout=60)


def begin(served: Served, **more: Any) -> str:
    answer = post(served, **more)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/answers/{answer.json()['id']}"
    return answer.json()["id"]


def finished(served: Served, name: str) -> dict[str, Any]:
    return served.until(name, "done", "failed", kind="answers")


def get(served: Served, name: str, part: str = "") -> httpx.Response:
    return httpx.get(f"{served.address}/api/answers/{name}{part}", timeout=60)


@pytest.fixture(scope="module")
def asked(served: Served) -> str:
    name = begin(served, ablate="source_occlusion", rewrite=1)
    assert finished(served, name)["state"] == "done"
    return name


def test_an_answer_is_that_of_the_library(served, asked):
    wanted = cm.load("demo-decoder").explain_answer(QUESTION, TEXTS, max_new_tokens=4, ablate="source_occlusion")
    found = cm.Answer.from_dict(get(served, asked, "/answer").json())
    assert found.text == wanted.text
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-4)
    np.testing.assert_allclose(found.lost, wanted.lost, atol=1e-4)
    assert found.losses.says.items() <= wanted.losses.says.items()


def test_another_cut_needs_no_run(served, asked):
    whole = cm.Answer.from_dict(get(served, asked, "/answer").json())
    for sources, units in (("document", "whole"), ("word", "token"), ("3", "2")):
        cut = cm.Answer.from_dict(get(served, asked, f"/answer?sources={sources}&units={units}").json())
        by = [int(one) if one.isdigit() else one for one in (sources, units)]
        np.testing.assert_array_equal(cut.values, whole.by(*by).values)
    shown = get(served, asked, "/shown?sources=document").json()
    assert len(shown["numbers"]["shares"][0]) == 2
    assert shown["signed"] is False
    assert "Lily had a red ball." in shown["html"]
    assert finished(served, asked)["what"].startswith("writing without source")  # nothing ran since


def test_a_page_is_saved_in_its_cut(served, asked):
    page = get(served, asked, "/report?sources=document")
    assert page.headers["content-disposition"] == 'attachment; filename="contextmix.html"'
    assert 'id="source-1"' in page.text
    assert 'id="source-2"' not in page.text
    assert "the model says: “dog." in get(served, asked, "/report").text


def test_the_looks_and_the_script_are_served(served):
    for name, kind in (("answer.css", "text/css"), ("answer.js", "text/javascript")):
        found = httpx.get(f"{served.address}/{name}", timeout=60)
        assert found.headers["content-type"].startswith(kind)
        assert len(found.text) > 1000


@pytest.mark.parametrize(
    ("more", "field", "told"),
    [
        ({"model": "demo"}, "model", "demo does not generate text, so it cannot answer. Try demo-decoder."),
        ({"model": "gone"}, "model", "no model 'gone'"),
        ({"question": ""}, "question", "at least 1 character"),
        ({"question": "Who \ud800?"}, "question", "unicode"),
        ({"context": ["Tom. " * 300]}, "context", "accepts at most 512 here"),
        ({"context": ["Tom."] * 65}, "context", "at most 64"),
        ({"context": [""]}, "context", "at least 1 character"),
        ({"max_new_tokens": 600}, "context", "accepts at most 512 here"),
        ({"max_new_tokens": 0}, "max_new_tokens", "greater than or equal to 1"),
        ({"method": "evidense"}, "method", "Did you mean 'evidence'"),
        ({"sources": "page"}, "sources", "A text is not cut by 'page'"),
        ({"units": 0}, "units", "A text is not cut by 0"),
        ({"ablate": "leave_out"}, "ablate", "is not one of source_occlusion"),
        ({"masks": 5000, "ablate": "context_cite"}, "masks", "from 1 to 4096"),
        ({"generation": {}}, "generation", "not permitted"),
    ],
)
def test_what_cannot_be_is_refused_at_once(served, more, field, told):
    if "\ud800" in more.get("question", ""):
        raw = '{"model": "demo-decoder", "question": "Who \\ud800?"}'
        headers = {"content-type": "application/json"}
        answer = httpx.post(f"{served.address}/api/answers", content=raw, headers=headers, timeout=60)
    else:
        answer = post(served, **more)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field
    assert told in answer.json()["reason"]


@pytest.mark.parametrize(
    ("more", "field", "told"),
    [
        ({"template": "{context}"}, None, "no text that holds {context} and {question}"),
        ({"masks": 8}, None, "Add ablate='source_occlusion', or leave out masks"),
        ({"away": "zeroed", "ablate": "source_occlusion"}, None, "does not take sources away as 'zeroed'"),
        ({"answer": " "}, None, "The answer is empty"),
    ],
)
def test_what_only_the_model_knows_is_refused_when_it_works(served, more, field, told):
    found = finished(served, begin(served, **more))
    assert found["state"] == "failed"
    assert told in found["reason"]
    assert found["field"] == field


def test_texts_that_the_template_makes_too_long_are_refused_with_what_would_be_cut(served):
    model = cm.load("demo-decoder")
    read = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (*TEXTS, QUESTION)]
    most = model.limit - sum(map(len, read))  # all of it fits, but not what the template adds
    found = finished(served, begin(served, max_new_tokens=most))
    assert (found["state"], found["field"]) == ("failed", "context")
    assert "2 'Lily had a red ball.'" in found["reason"]
    shorter = finished(served, begin(served, max_new_tokens=most, truncate=True, answer="ball."))
    assert shorter["state"] == "done"


def test_answers_are_no_explorations(served, asked):
    assert served.status(asked).status_code == 404
    assert "no such exploration" in served.status(asked).json()["reason"]
    name = served.begin()
    assert get(served, name).status_code == 404
    assert "no such answer" in get(served, name).json()["reason"]
    assert get(served, asked, "/answer?sources=page").json()["field"] == "sources"


def test_a_slow_answer_is_stopped(served):
    name = begin(served, context=["Tom had a dog. " * 20], ablate="source_surrogate", masks=4096)
    served.until(name, "running", kind="answers")
    assert get(served, name, "/shown").status_code == 409
    found = served.until(name, "failed", kind="answers")
    assert "the time limit of 5 s that this server allows" in found["reason"]
    again = begin(served, context=["Tom had a dog. " * 20], ablate="source_surrogate", masks=4096)
    assert httpx.delete(f"{served.address}/api/answers/{again}", timeout=60).status_code == 204
    assert get(served, again).status_code == 404
    assert finished(served, begin(served))["state"] == "done"


def test_the_description_tells_options_as_they_are_declared(served):
    document = httpx.get(f"{served.address}/openapi.json", timeout=60).json()
    asked = document["components"]["schemas"]["AskedAnswer"]["properties"]
    assert asked["model"]["enum"] == ["demo-decoder"]
    assert "evidence" in asked["method"]["enum"]
    assert asked["rewrite"]["default"] == 3
    assert asked["sources"]["description"].startswith("How to split the texts into sources")
