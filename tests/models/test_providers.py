"""Continuations scored by a model, and by a stub server that speaks the protocol of completions for a small model."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.sourced import prompt

import contextmix as cm
from contextmix.errors import BadInput, BadOption, ServerRefused, TooLong, UnsupportedModel
from contextmix.models.providers import KEY, ModelProvider, Server, ablations_by
from contextmix.models.source_scores import Fitting, score_sources

SECRET = "sk-not-for-your-eyes"


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


class Stub:
    """A server on this machine that answers with whatever `answer` gives, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.answer: Any = lambda said: (200, {})
        self.server = HTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.asked.append((self.path, dict(self.headers), said))
                status, content = stub.answer(said)
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"{stub.url}/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *told: Any) -> None:
                """Tests are quiet."""

        return Handler


@pytest.fixture
def stub() -> Iterator[Stub]:
    found = Stub()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def completions(stories: cm.TracedModel, **changes: Any) -> Any:
    """What a server of this model answers: the prompt echoed with its log-probabilities, and a token of its own."""

    def answer(said: dict[str, Any]) -> tuple[int, Any]:
        tokens = stories.encode(said["prompt"])[0].tokens
        with torch.no_grad():
            scores = stories.model(torch.tensor([tokens.ids])).logits[0].double().log_softmax(-1)
        places = [(place, span[0]) for place, span in enumerate(tokens.spans) if span]
        numbers = [float(scores[place - 1, tokens.ids[place]]) for place, _ in places]
        numbers[0] = None  # nothing stands before the first
        starts = [start for _, start in places]
        found = {"token_logprobs": [*numbers, -0.1], "text_offset": [*starts, len(said["prompt"])]}
        return 200, {"choices": [{"text": said["prompt"] + " x", "logprobs": {**found, **changes}}]}

    return answer


# The model -----------------------------------------------------------------------------------------------------------


def test_a_model_says_how_probable_a_continuation_is(stories):
    before, whole = (stories.encode(text)[0].tokens.ids for text in ("Tom had a big", "Tom had a big dog. He"))
    with torch.no_grad():
        scores = stories.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    wanted = [float(scores[place - 1, whole[place]]) for place in range(len(before), len(whole))]
    assert ModelProvider(stories).log_probs("Tom had a big", " dog. He") == pytest.approx(wanted, abs=1e-5)


def test_a_continuation_that_is_none_is_refused(stories):
    with pytest.raises(BadInput, match="does not begin where a token does"):
        ModelProvider(stories).log_probs("Tom had a d", "og.")
    with pytest.raises(BadInput, match="does not begin where a token does"):
        ModelProvider(stories).log_probs("Tom had a dog.", "")
    with pytest.raises(TooLong):
        ModelProvider(stories).log_probs("Tom had a dog. " * 200, " He")
    with pytest.raises(UnsupportedModel, match="does not generate text"):
        ModelProvider(cm.load("demo")).log_probs("a good", " film")


# The server ----------------------------------------------------------------------------------------------------------


def test_a_server_says_the_same_as_the_model_behind_it(stories, stub):
    stub.answer = completions(stories)
    found = Server(stub.url, "stories", timeout=10).log_probs(prompt(np.ones(3, bool)), " dog. They")
    wanted = ModelProvider(stories).log_probs(prompt(np.ones(3, bool)), " dog. They")
    assert found == pytest.approx(wanted, abs=1e-5)
    ((path, headers, said),) = stub.asked
    assert path == "/v1/completions"
    assert said["prompt"] == prompt(np.ones(3, bool)) + " dog. They"
    assert (said["model"], said["echo"], said["logprobs"], said["temperature"]) == ("stories", True, 1, 0)
    assert "Authorization" not in headers


@pytest.mark.parametrize("method", ["source_occlusion", "source_surrogate"])
def test_ablations_run_against_a_server(stories, stub, method):
    stub.answer = completions(stories)
    told: list[float] = []
    providers = Server(stub.url, "stories", timeout=10), ModelProvider(stories)
    by_server, by_model = (
        score_sources(ask, 3, method, fitting=Fitting(masks=8))
        for ask in (
            ablations_by(providers[0], prompt, " dog. They", 3, progress=lambda done, what: told.append(done)),
            ablations_by(providers[1], prompt, " dog. They", 3),
        )
    )
    assert by_server.values == pytest.approx(by_model.values, abs=1e-3)
    assert by_server.values.any()
    assert (len(stub.asked), told[-1]) == (by_server.passes, 1.0)


def test_a_key_is_sent_and_never_shown(stories, stub, monkeypatch):
    stub.answer = completions(stories)
    given = Server(stub.url, "stories", key=SECRET, timeout=10)
    given.log_probs("Tom had a", " dog")
    monkeypatch.setenv(KEY, SECRET + "-2")
    Server(stub.url, "stories", timeout=10).log_probs("Tom had a", " dog")
    assert [headers["Authorization"] for _, headers, _ in stub.asked] == [f"Bearer {SECRET}", f"Bearer {SECRET}-2"]
    assert SECRET not in repr(given) + str(given)
    stub.answer = lambda said: (401, f"no such key: {SECRET}".encode())
    with pytest.raises(ServerRefused, match="answered 401") as refusal:
        given.log_probs("Tom had a", " dog")
    assert SECRET not in str(refusal.value)
    assert "[key]" in str(refusal.value)


def test_a_key_goes_to_no_other_address(stub):
    stub.answer = lambda said: (302, {})
    with pytest.raises(ServerRefused, match="answered 302"):
        Server(stub.url, "stories", key=SECRET, timeout=10).log_probs("Tom had a", " dog")
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"choices": [{"text": "Tom had a dog"}]},
        {"choices": [{"text": "Tom had a dog", "logprobs": None}]},
        {"choices": [{"text": "", "logprobs": {"token_logprobs": [-1.0]}}]},
        {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -1.0}]}}]},
        {"choices": []},
        {"error": "not that"},
        [],
        None,
    ],
)
def test_a_server_without_log_probabilities_is_refused(stub, content):
    stub.answer = lambda said: (200, content)
    with pytest.raises(ServerRefused, match=r"without log-probabilities of the prompt.*supports echo") as refusal:
        Server(stub.url, "stories", timeout=10).log_probs("Tom had a", " dog")
    assert stub.url in str(refusal.value)


def test_numbers_that_are_none_are_refused(stories, stub):
    stub.answer = completions(stories, token_logprobs=[None] * 5, text_offset=[0, 3, 7, 9, 13])
    with pytest.raises(ServerRefused, match=r"no log-probability for a token of the continuation \(null\)"):
        Server(stub.url, "stories", timeout=10).log_probs("Tom had a", " dog")
    stub.answer = completions(stories, token_logprobs=[-1.0] * 3, text_offset=[0, 3, 7])  # " a dog" is one token
    with pytest.raises(BadInput, match="' dog' does not begin where a token does"):
        Server(stub.url, "stories", timeout=10).log_probs("Tom had a", " dog")
    with pytest.raises(BadInput, match="continuation is empty"):
        Server(stub.url, "stories", timeout=10).log_probs("Tom had a", "")


def test_a_server_that_is_not_there_or_speaks_otherwise(stub):
    stub.answer = lambda said: (200, b"<html>")
    with pytest.raises(ServerRefused, match="not answer with JSON"):
        Server(stub.url, "stories", timeout=10).log_probs("Tom had a", " dog")
    gone = Server("http://127.0.0.1:9/v1", "stories", timeout=2)
    with pytest.raises(ServerRefused, match=r"cannot be reached.*Is the server up"):
        gone.log_probs("Tom had a", " dog")
    for url in ("ftp://host/v1", "localhost:8000/v1", "http://"):
        with pytest.raises(BadOption, match="begins with http://"):
            Server(url, "stories")
    for url in (f"http://me:{SECRET}@host/v1", f"http://host/v1?key={SECRET}"):
        with pytest.raises(BadOption, match="contains a password or a query") as refusal:
            Server(url, "stories")
        assert SECRET not in str(refusal.value)


def test_an_answer_that_is_cut_otherwise_behind_another_prompt_is_refused():
    class Odd:
        def log_probs(self, prompt: str, continuation: str) -> np.ndarray:
            return np.full(len(prompt) % 2 + 1, -1.0)

    ask = ablations_by(Odd(), prompt, " dog", 3)
    with pytest.raises(UnsupportedModel, match=r"cut into \[1, 2\] tokens"):
        ask(np.array([[True, True, True], [True, False, True], [False, False, True]]))
