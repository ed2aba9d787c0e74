"""`contextmix serve` where it does not come to serving; what it serves: tests/serve."""

import socket
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("options", [("--port", "70000"), ("--workers", "0"), ("--host", "0.0.0.0")])
def test_what_is_no_option_is_refused(run: Callable[..., Any], options: tuple[str, ...]):
    assert run("serve", *options).exit_code == 2


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(run: Callable[..., Any]):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run("serve", "--port", port, "--model", "demo")
    assert result.exit_code == 1
    assert f"port {port}" in result.stderr
    assert "--port 0" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_that_is_not_there_is_said_and_no_process_is_left(run: Callable[..., Any]):
    result = run("serve", "--port", 0, "--workers", 1, "--model", "demoo")
    assert result.exit_code == 1
    assert "Did you mean 'demo'" in result.stderr


def test_the_help_says_how_to_use_it_from_elsewhere(run: Callable[..., Any]):
    assert "ssh -L" in " ".join(run("serve", "--help").stdout.split())


def test_without_fastapi_it_says_what_to_install(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("contextmix.cli.serve.find_spec", lambda name: None)
    result = run("serve")
    assert result.exit_code == 1
    assert "contextmix[serve]" in result.stderr
