"""GlobEnc's experiments on the demo model and a dozen sentences, done once for all tests."""

from pathlib import Path

import pytest
from tests.tracing.tiny import one_thread

from contextmix.evidence.report import Report
from contextmix.evidence.reproduce import reproduce
from contextmix.models.verbs import load

GOOD = (
    "a charming and often funny film",
    "the acting is superb",
    "moving , clever and warm",
    "a great cast",
    "one of the best films of the year",
    "it works , and it is fun",
)
BAD = (
    "a dull and lifeless mess",
    "the plot makes no sense",
    "boring",
    "an awful , clumsy film",
    "nothing here is funny",
    "a waste of a great cast",
)
ROWS = [{"text": text, "label": label} for texts, label in ((GOOD, 1), (BAD, 0)) for text in texts]


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="session")
def demo():
    return load("demo")


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("globenc")


@pytest.fixture(scope="session")
def reports(demo, out: Path) -> dict[str, Report]:
    with one_thread():
        found = reproduce("globenc", out, model=demo, data=ROWS, progress=False)
    return {report.name: report for report in found}
