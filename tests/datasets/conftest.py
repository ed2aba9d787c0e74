"""One demo model for all runs in this process."""

import pytest
from tests.tracing.tiny import one_thread

import contextmix as cm


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="session")
def demo():
    return cm.load("demo")
