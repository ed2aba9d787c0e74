"""The command line with broken words: a sentence and an exit status, never a traceback."""

import os
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cli.conftest import run  # noqa: F401  the fixture that asks the command line
from tests.robustness.values import NUMBERS, TEXTS

from contextmix.cli import app

HUNTING = "CONTEXTMIX_DRAWS" in os.environ
DRAWS = int(os.environ.get("CONTEXTMIX_DRAWS", "3"))
VERBS = typer.main.get_command(app).commands
NAMES = ["globenc", "random,globenc", "norm+rollout", "demo", "a.b=c", "a=", "=", "0,x", ","]
WORDS = [*TEXTS, *map(str, NUMBERS), *NAMES]
ALONE = {"--workers": ["1", "0", "-1", "x"], "--engine": ["local", "x", ""]}
"""Flags with which a broken word would start processes by the thousand, or a cluster."""
ALWAYS = {
    "serve": ["--port", "no port"],  # or a server would run until the test is killed
    "evaluate": ["--methods", "globenc,attention", "--metrics", "aopc", "--limit", "1"],
    "reproduce": ["--only", "rows", "--limit", "1"],
}


@st.composite
def commands(draw: st.DrawFn, verb: str) -> list[str]:
    """A verb with some of its flags and a few texts, broken ones among them."""
    found: list[str] = [verb]
    known = VERBS[verb].params
    for parameter in draw(st.lists(st.sampled_from(known), max_size=3)) if known else []:
        flag = parameter.opts[0]
        if not flag.startswith("--"):
            found.append(draw(st.sampled_from(WORDS)))
        elif getattr(parameter, "is_flag", False):
            found.append(flag)
        else:
            found += [flag, draw(st.sampled_from(ALONE.get(flag, WORDS)))]
    return found + draw(st.lists(st.sampled_from(WORDS), max_size=1)) + ALWAYS.get(verb, [])


@pytest.mark.parametrize("verb", VERBS)
def test_no_traceback_in_a_terminal(verb: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)

    @settings(max_examples=DRAWS, derandomize=not HUNTING, suppress_health_check=list(HealthCheck), database=None)
    @given(commands(verb))
    def once(words):
        result = run(*words, stdin="")  # raises what is no exit
        assert result.exit_code in (0, 1, 2)
        assert "Traceback" not in result.output
        assert result.exit_code == 0 or result.stderr.strip(), "an exit status without a sentence"

    once()
