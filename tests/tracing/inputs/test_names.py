"""Which models can be nowhere."""

import re
from pathlib import Path

import pytest
from huggingface_hub import constants

import contextmix as cm
from contextmix.errors import ModelNotFound
from contextmix.tracing.inputs.names import BUILT_IN, refuse_absent

IMPOSSIBLE = [
    "./here",
    "/no/such/folder",
    "a/b/c",
    "a b",
    "a--b",
    "a..b",
    "C:\\models",
    "",
    "é",
    "~nobody/x",
    "a" * 5000,
]


@pytest.fixture
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models--owner--fetched").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("name", [*BUILT_IN, "owner/fetched", "."])
def test_what_may_be_there_passes(name: str):
    refuse_absent(name)


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("name", ["dmeo", "owner/other", "fetched"])
def test_offline_what_was_never_fetched_is_nowhere(name: str):
    with pytest.raises(ModelNotFound, match=rf"no model '{name}'.*not downloaded"):
        refuse_absent(name)


def test_with_a_network_only_the_hub_can_tell(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    refuse_absent("owner/other")


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_no_model_can_be_called_is_nowhere(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for ask in (refuse_absent, cm.load):
        with pytest.raises(ModelNotFound, match=re.escape(f"There is no model {name!r}")):
            ask(name)
