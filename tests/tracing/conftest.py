"""One traced tiny model per family, shared by all tests of this folder: tracing must leave it as it was."""

from collections.abc import Callable, Iterator

import pytest
from tests.tracing.tiny import FAMILIES, build, hook_count, one_thread, settings

import contextmix as cm


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def _traced(family: str) -> Callable[[], Iterator[cm.TracedModel]]:
    @pytest.fixture(scope="session", name=family)
    def traced() -> Iterator[cm.TracedModel]:
        model = build(family)
        before = settings(model)
        yield cm.load(model)
        assert settings(model) == before
        assert hook_count(model) == 0

    return traced


for _family in FAMILIES:
    globals()[f"_{_family}"] = _traced(_family)
