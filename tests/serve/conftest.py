"""One real server for all tests: `contextmix serve` as a process of its own, which must also end well."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

SECONDS = 5.0
"""The time limit of the server."""
LONG = "a deep and meaningful film . " * 40
"""So long that the slow methods take far longer than the limit."""


@dataclass
class Served:
    """A running server, and how to ask it."""

    address: str
    process: subprocess.Popen[str]

    def begin(self, text: str = "a good film", methods: tuple[str, ...] = ("globenc",), **more: Any) -> str:
        body = {"model": "demo", "text": text, "methods": methods, **more}
        answer = httpx.post(f"{self.address}/api/explorations", json=body, timeout=30)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def status(self, name: str, kind: str = "explorations") -> httpx.Response:
        return httpx.get(f"{self.address}/api/{kind}/{name}", timeout=30)

    def exhibit(self, name: str) -> dict[str, Any]:
        assert self.until(name, "done")["progress"] == 1
        return httpx.get(f"{self.address}/api/explorations/{name}/exhibit", timeout=30).json()

    def until(self, name: str, *states: str, kind: str = "explorations") -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def reached() -> bool:
            found.append(self.status(name, kind).json())
            assert found[-1]["state"] in {"queued", "running", *states}, found[-1]
            return found[-1]["state"] in states

        wait_for(reached, f"{name} to be {states}")
        return found[-1]

    def workers(self) -> list[int]:
        """The processes that compute, found from outside."""
        (starter,) = (child for child in children(self.process.pid) if b"forkserver" in command_line(child))
        return children(starter)


def wait_for(true: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def children(process: int) -> list[int]:
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return sorted(int(child) for one in lists for child in one.read_text().split())


def command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


@contextmanager
def serving(*models: str) -> Iterator[Served]:
    """A server with these models, which must also end well."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("needs /proc, to look at the server's processes")
    command = [sys.executable, "-m", "contextmix", "serve", "--port", "0"]
    command += [part for model in models for part in ("--model", model)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, "--timeout", str(SECONDS)], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert address is not None, said
    yield Served(address[0], process)
    beneath = children(process.pid) + Served(address[0], process).workers()
    process.send_signal(signal.SIGINT)
    assert process.wait(90) == 0  # torch takes long to leave a busy machine
    process.stdout.close()
    wait_for(lambda: not any(command_line(child) for child in beneath), "the workers to end")


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with serving("demo", "demo-decoder") as one:
        yield one
