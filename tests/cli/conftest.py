"""A tiny classifier in a folder, and the command line run inside this process or as one of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.tracing.tiny import build, one_thread, word_pieces
from typer.testing import CliRunner

from contextmix.cli import app


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and tokenizer of a classifier with two layers and the labels bad and good."""
    place = tmp_path_factory.mktemp("models") / "tiny-classifier"
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    build("bert", "ForSequenceClassification", **labels).save_pretrained(place)
    word_pieces().save_pretrained(place)
    return place


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``run("explain", "a film", stdin="…")`` → exit_code, stdout and stderr, as in a terminal 100 columns wide."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def invoke(*arguments: Any, stdin: str | bytes | None = None) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """The same as a process of its own, through ``main``."""

    def start(*arguments: Any, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        code = "import sys; sys.argv[0] = 'contextmix'; from contextmix.cli import main; main()"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
        return subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=300, check=False)

    return start


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C as a terminal gives it: a shell that starts a job in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
