"""One traced model per family, its trace, and its decoder blocks longhand; tracing must leave each as it was."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from tests.models.two_stacks.models import FAMILIES, WRITTEN, build, halves, read_ids, source
from tests.tracing.tiny import hook_count, one_thread, settings

import contextmix as cm


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session", params=FAMILIES)
def case(request) -> Iterator[SimpleNamespace]:
    family = request.param
    model = build(family)
    before = settings(model)
    inputs, traced = source(family), cm.load(model)
    flat = {name: value[0] for name, value in inputs.items()} if "input_ids" in inputs else inputs
    trace = traced.trace(flat, output=WRITTEN)
    yield SimpleNamespace(
        family=family,
        model=model,
        traced=traced,
        inputs=inputs,
        flat=flat,
        ids=read_ids(model),
        trace=trace,
        halves=halves(build(family), family, inputs, read_ids(model)),  # a twin: transformers leaves hooks on it
    )
    assert settings(model) == before
    assert hook_count(model) == 0
