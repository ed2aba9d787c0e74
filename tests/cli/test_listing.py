"""Lists of plug-ins at any width, one of them in detail, and what the program says of itself."""

import subprocess
import sys

import pytest
from rich.cells import cell_len

from contextmix.plugins.registry import AGGREGATIONS, METHODS, METRICS


@pytest.mark.parametrize("width", ["60", "120"])
@pytest.mark.parametrize(("verb", "registries"), [("methods", [METHODS, AGGREGATIONS]), ("metrics", [METRICS])])
def test_every_formula_is_read_in_full(run, monkeypatch, verb, registries, width):
    monkeypatch.setenv("COLUMNS", width)
    said = run(verb).output
    assert max(map(cell_len, said.splitlines())) <= int(width)
    plain = " ".join(said.split())
    for registry in registries:
        for name in registry.names:
            assert f"\n{name}\n" in f"\n{said}" or f"\n{name} " in said, name
            assert " ".join(registry.described(name).formula.split()) in plain, name


@pytest.mark.parametrize("name", ["globenc", "GlobEnc", "value-zeroing", "rollout", "decompx"])
def test_one_method_is_told_in_detail(run, name):
    said = run("methods", name)
    assert said.exit_code == 0
    assert "https://" in said.output.replace("\n", "")
    assert "contextmix explain" in said.output


def test_options_are_told_with_their_values(run):
    assert "distance=cosine or euclidean" in " ".join(run("methods", "value_zeroing").output.split())
    assert "order=most_first or least_first" in " ".join(run("metrics", "aopc").output.split())


def test_one_that_does_not_exist_is_refused(run):
    said = run("methods", "globnec")
    assert said.exit_code == 1
    assert "Did you mean 'globenc'" in said.output + said.stderr


def test_help_is_short_to_ask_for_and_never_cut(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    short, long = run("-h"), run("--help")
    assert short.exit_code == 0
    assert short.output == long.output
    assert "..." not in short.output.partition("\n")[2]
    assert run("explain", "-h").exit_code == 0


STOPPED = """
import os, signal, sys, threading
wait = float(sys.argv[1])
sys.argv = ["contextmix", "explain", "a film"]
threading.Timer(wait, os.kill, (os.getpid(), signal.SIGINT)).start()
from contextmix.__main__ import main
main()
"""


@pytest.mark.parametrize("wait", ["0.02", "0.2", "0.6", "1.5"])
def test_a_program_that_is_stopped_while_it_loads_shows_no_traceback(wait):
    done = subprocess.run([sys.executable, "-c", STOPPED, wait], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert not done.stdout
