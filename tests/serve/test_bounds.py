"""Slow, greedy and strange clients, against a real uvicorn with small limits and an echo behind the guard."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from tests.serve.conftest import wait_for

from contextmix.errors import BadOption
from contextmix.serve.guard import HEADERS, Guard
from contextmix.serve.limits import Limits
from contextmix.serve.protocol import bounded
from contextmix.serve.server import listen

LIMITS = Limits(request_seconds=0.6, idle_seconds=1, connections=8, body_bytes=1000)
LARGE = b"x" * 20_000_000
"""More than the buffers of a connection hold."""
OPEN: list[socket.socket] = []
"""What `connected` made, to be closed after each test."""


async def echo(scope, receive, send):
    """The length of the body; /large gives more than a client that does not read can be given."""
    body = (await receive())["body"]
    content = LARGE if scope["path"] == "/large" else json.dumps({"bytes": len(body)}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    listener = listen(0)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        Guard(echo, port, LIMITS),
        port=port,
        http=bounded(LIMITS),
        ws="none",
        lifespan="off",
        log_level="critical",
        timeout_keep_alive=LIMITS.idle_seconds,
    )
    found = uvicorn.Server(config)
    thread = threading.Thread(target=found.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_for(lambda: found.started, "the server")
    yield found
    found.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def port(server: uvicorn.Server) -> Iterator[int]:
    yield server.config.port
    while OPEN:
        OPEN.pop().close()
    wait_for(lambda: not server.server_state.connections, "the connections of this test to end")


def head(port: int, *lines: str, method: str = "POST", path: str = "/") -> bytes:
    given = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json", *lines)
    return "\r\n".join((*given, "", "")).encode()


def connected(port: int, data: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    OPEN.append(made)
    made.sendall(data)
    return made


def everything(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    try:
        while data := connection.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def ask(port: int, **more: object) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{port}/", **{"json": {}, "timeout": 5, **more})


def test_only_the_address_of_this_machine_is_listened_to():
    listener = listen(0)
    assert listener.getsockname()[0] == "127.0.0.1"
    with pytest.raises(BadOption, match="Another server may be using it"):  # also while that one still loads its models
        listen(listener.getsockname()[1])
    listener.close()


@pytest.mark.campaign
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_the_process_that_imports_is_not_hit_by_ctrl_c():
    script = (
        "from multiprocessing import forkserver; from contextmix.processes.start import warm; warm(['json']);"
        "print(open(f'/proc/{forkserver._forkserver._forkserver_pid}/status').read())"
    )
    status = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    ignored = int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16)
    assert ignored & 1 << (signal.SIGINT - 1)  # it imports at this time, and would tell of it in 60 lines


def test_a_body_over_the_limit_is_refused_whether_it_says_its_length_or_not(port: int):
    assert ask(port, content=b"x" * 1000, headers={"content-type": "application/json"}).json() == {"bytes": 1000}
    said = ask(port, content=b"x" * 1001, headers={"content-type": "application/json"})
    assert (said.status_code, said.json()["field"]) == (413, None)
    chunks = (b"x" * 100 for _ in range(11))
    assert ask(port, content=chunks, headers={"content-type": "application/json"}).status_code == 413
    assert b" 413 " in everything(connected(port, head(port, "Content-Length: 999999999999")))


@pytest.mark.campaign
@pytest.mark.parametrize(
    "data",
    [
        b"",  # connects and is silent
        b"POST / HT",
        b"POST / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n",  # the end of the head never comes
        b"BODY",  # half of it
    ],
)
def test_a_client_that_is_too_slow_is_cut_off(port: int, data: bytes):
    slow = connected(port, head(port, "Content-Length: 100") + b"x" * 50 if data == b"BODY" else data)
    began = time.monotonic()
    said = everything(slow)
    assert time.monotonic() - began < 4 * LIMITS.request_seconds
    assert (b" 408 " in said) == (data != b"")


@pytest.mark.campaign
def test_a_trickle_does_not_buy_time(port: int):
    slow = connected(port, head(port, "Content-Length: 900"))
    began = time.monotonic()
    with contextlib.suppress(OSError):  # of writing to what is closed
        while time.monotonic() < began + 10:
            slow.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() - began < 5


@pytest.mark.campaign
def test_a_client_that_does_not_take_its_answer_is_cut_off(port: int, server: uvicorn.Server):
    slow = connected(port, head(port, method="GET", path="/large"))
    wait_for(lambda: len(server.server_state.connections) == 1, "the connection")
    wait_for(lambda: not server.server_state.connections, "its end", 5)
    assert len(everything(slow)) < len(LARGE)


@pytest.mark.campaign
def test_an_idle_connection_ends_and_a_second_request_has_no_more_time_than_the_first(port: int):
    idle = connected(port, head(port, method="GET"))
    began = time.monotonic()
    assert b" 200 " in everything(idle)
    assert LIMITS.idle_seconds <= time.monotonic() - began < 3 * LIMITS.idle_seconds
    again = connected(port, head(port, method="GET"))
    assert b" 200 " in again.recv(65536)
    again.sendall(b"GET / HT")
    began = time.monotonic()
    assert b" 408 " in everything(again)
    assert time.monotonic() - began < 2 * LIMITS.request_seconds


@pytest.mark.campaign
def test_slow_clients_do_not_hold_up_the_others(port: int):
    slow = [connected(port, b"POST / HTTP/1.1\r\nHost: x\r\n") for _ in range(6)]
    for _ in range(5):
        began = time.monotonic()
        assert ask(port).status_code == 200
        assert time.monotonic() - began < LIMITS.request_seconds
    for one in slow:
        assert b" 408 " in everything(one)


def test_connections_over_the_limit_are_told_when_to_come_back(port: int, server: uvicorn.Server):
    idle = [connected(port) for _ in range(8)]
    wait_for(lambda: len(server.server_state.connections) == 8, "the connections")
    refused = ask(port)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "Too many" in refused.json()["reason"]
    for one in idle:
        one.close()
    wait_for(lambda: not server.server_state.connections, "them to end")
    assert ask(port).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 200),
        ({"Host": "LOCALHOST:{port}"}, 200),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Host": "127.0.0.1:{port}.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),  # of this machine, but another site than the one asked
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_who_is_answered(port: int, headers: dict[str, str], status: int):
    given = {"Content-Type": "application/json", **{key: value.format(port=port) for key, value in headers.items()}}
    found = ask(port, json=None, content=b"{}", headers=given)
    assert found.status_code == status
    assert (found.status_code == 200) == ("reason" not in found.json())


def test_other_sites_cannot_even_read_the_api(port: int):
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        answer = httpx.get(f"http://127.0.0.1:{port}/api/models", headers={"Sec-Fetch-Site": site})
        assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\n\n", b"GET / HTTP/1.1\r\n\r\n", b"POST /\r\n\r\n", b"\0" * 70_000]
)
def test_what_is_not_http_is_refused_in_words(port: int, data: bytes):
    said = everything(connected(port, data))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["reason"]


def test_every_answer_has_the_headers_of_safety(port: int):
    raw = everything(connected(port, b"nonsense\r\n\r\n"))
    for answer in (ask(port), ask(port, headers={"Origin": "null"}), ask(port, content=b"x" * 2000)):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert all(f"{name}: {value}".encode() in raw for name, value in HEADERS.items())
    assert "unsafe" not in HEADERS["content-security-policy"]
