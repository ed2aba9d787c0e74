"""What `make` installs: pins and lower bounds that agree, and a PyTorch that stays."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from scripts import torch_first
from scripts.lower_bounds import PYPROJECT, pins

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]


def versions(lines: Iterator[str]) -> dict[str, Version]:
    read = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): Version(next(iter(one.specifier)).version) for one in read}


def test_every_lower_bound_is_pinned_and_the_constraints_obey_it():
    oldest = versions(pins(PROJECT))
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    newest = versions(line for line in lines if not line.startswith("#"))
    assert len(oldest) >= 35
    assert [name for name, version in oldest.items() if not version <= newest[name]] == []


def test_extras_of_our_own_are_no_pins():
    project = {"name": "ours", "dependencies": ["a>=1"], "optional-dependencies": {"x": ["ours[y]", "b[c]>=2.1"]}}
    assert list(pins(project)) == ["a==1", "b==2.1"]


@pytest.mark.parametrize("requirement", ["a", "a<2", "a>=1,<2", "a>=1; python_version < '3.13'"])
def test_a_requirement_without_one_lower_bound_is_refused(requirement: str):
    with pytest.raises(SystemExit, match=re.escape(repr(requirement))):
        list(pins({"name": "ours", "dependencies": [requirement], "optional-dependencies": {}}))


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip is told, where no PyTorch is until then; it brings 9.9."""
    told: list[list[str]] = []

    class Done:
        returncode = 0

    def run(command: list[str], check: bool) -> Done:
        told.append(command[command.index("--no-compile") + 1 :])
        return Done()

    monkeypatch.delenv("TORCH", raising=False)
    monkeypatch.setattr(torch_first, "present", lambda: "9.9+cpu" if told else None)
    monkeypatch.setattr(torch_first.subprocess, "run", run)
    monkeypatch.setattr(torch_first.sys, "platform", "linux")
    monkeypatch.setattr(torch_first.shutil, "which", lambda name: None)
    return told


def put(folder: Path, text: str) -> str:
    (folder / "pins.txt").write_text(text, encoding="utf-8")
    torch_first.main(folder / "pins.txt", folder / "constraints.txt")
    return (folder / "constraints.txt").read_text(encoding="utf-8")


def test_a_large_download_is_announced_and_the_pin_installed(tmp_path: Path, pip: list[list[str]], capsys):
    assert put(tmp_path, "a==1\ntorch==9.9\nz==2\n") == "a==1\nz==2\ntorch==9.9+cpu\n"
    assert pip == [["-c", str(tmp_path / "pins.txt"), "torch==9.9"]]
    said = capsys.readouterr().err
    assert "gigabytes of CUDA packages" in said
    assert 'TORCH="torch==9.9 ..."' in said


def test_torch_is_what_the_user_says(tmp_path: Path, pip: list[list[str]], capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH", "torch --extra ADDRESS")
    assert put(tmp_path, "torch==1.0\n") == "torch==9.9+cpu\n"
    assert pip == [["torch", "--extra", "ADDRESS"]]
    assert capsys.readouterr().err == "Keeping torch 9.9+cpu; pins.txt names 1.0.\n"


def test_a_torch_that_is_there_stays(tmp_path: Path, pip: list[list[str]], capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch_first, "present", lambda: "9.8")
    assert put(tmp_path, "a==1\n") == "a==1\ntorch==9.8\n"
    assert (pip, capsys.readouterr().err) == ([], "")


def test_a_gpu_is_not_warned(tmp_path: Path, pip: list[list[str]], capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch_first.shutil, "which", lambda name: name)
    assert put(tmp_path, "") == "torch==9.9+cpu\n"
    assert (pip[0][-1], capsys.readouterr().err) == ("torch", "")
