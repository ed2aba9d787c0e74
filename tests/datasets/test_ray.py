"""Under Ray a run gives what one process gives, whichever actor dies, and leaves nothing behind."""

from pathlib import Path

import pytest
from tests.datasets.killing import content, write_texts

import contextmix as cm
from contextmix.datasets.identity import model_identity
from contextmix.datasets.job import Job
from contextmix.datasets.run import described
from contextmix.datasets.settings import Settings
from contextmix.datasets.source import open_source
from contextmix.model import MEMORY_BUDGET

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # it sets options of its own that are old

ROWS, SHARDS = 64, range(8)
SETTINGS = {"shard_size": 8, "batch_tokens": 64, "progress": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_texts(tmp_path_factory.mktemp("data") / "texts.jsonl", ROWS)


@pytest.fixture(scope="module")
def expected(data, tmp_path_factory) -> tuple[int, str]:
    """What one process gives that nothing interrupts."""
    out = tmp_path_factory.mktemp("out") / "one"
    cm.run(data, out, **SETTINGS)
    return content(out)


def begun(data: Path, out: Path) -> tuple:
    """A job whose folder is there, and what `on_ray` wants to know of it."""
    settings = Settings(("globenc",), shard_size=8)
    job = Job("demo", "float32", None, settings, open_source(data), out, 64, MEMORY_BUDGET)
    work = job.work()
    work.folder.open(described(work))
    return job, work, model_identity(work.measurer.model)


def actors() -> list[int]:
    """The processes in which actors of Ray Data live."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line.read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(line.parent.name))
        except OSError:  # it has just ended
            continue
    return found
