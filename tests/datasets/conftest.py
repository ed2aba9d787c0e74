"""One demo model for all runs in this process, a run that nothing disturbs, and a count of what is measured."""

import pytest
from tests.datasets.runs import LONG, SETTINGS, measured
from tests.tracing.tiny import one_thread

import contextmix as cm
from contextmix.datasets.running.measure import Measurer


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="session")
def demo():
    return cm.load("demo")


@pytest.fixture(scope="session")
def whole(demo, tmp_path_factory):
    """The run that nothing interrupts."""
    return measured(LONG, tmp_path_factory.mktemp("whole") / "out", model=demo, **SETTINGS)


@pytest.fixture
def calls(monkeypatch):
    """How many texts are measured, without those that are tried; ``before`` is asked before each batch."""
    seen = {"texts": 0, "batches": 0, "before": lambda batches: None}
    real = Measurer.measure

    def measure(self, batch):
        seen["before"](seen["batches"])
        seen["batches"] += 1
        seen["texts"] += len(batch)
        return real(self, batch)

    monkeypatch.setattr(Measurer, "measure", measure)
    return seen
