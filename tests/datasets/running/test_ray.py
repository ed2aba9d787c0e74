"""Under Ray a run gives what one process gives, whichever actor dies, and leaves nothing behind."""

import os
import signal
from pathlib import Path

import pytest
from tests.datasets.killing import content, rest, write_texts

import contextmix as cm
from contextmix.datasets.reading.source import open_source
from contextmix.datasets.running.cluster import on_ray
from contextmix.datasets.running.job import Job
from contextmix.datasets.running.run import described
from contextmix.datasets.running.work import Advance
from contextmix.datasets.storage.identity import model_identity
from contextmix.datasets.storage.settings import Settings
from contextmix.errors import BadOption, BadRow, Interrupted
from contextmix.options.values import MEMORY_BUDGET

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [
    pytest.mark.campaign,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # it sets options of its own that are old
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray 2.40 leaves files and processes to Python's collector
]

ROWS, SHARDS = 64, range(8)
ACTORS = (b"ray::MapWorker", b"ray::_MapWorker", b"ray::MapBatches")  # so Ray names their processes; the last two: 2.40
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


def begun(data: Path, out: Path, shard_size: int = 8) -> tuple:
    """A job whose folder is there, and what `on_ray` wants to know of it."""
    settings = Settings(("globenc",), shard_size=shard_size)
    job = Job("demo", "float32", None, None, settings, open_source(data), out, 64, MEMORY_BUDGET)
    work = job.work()
    work.folder.open(described(work))
    return job, work, model_identity(work.measurer.model)


def actors() -> list[int]:
    """The processes in which actors of Ray Data live."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line.read_bytes().startswith(ACTORS):
                found.append(int(line.parent.name))
        except OSError:  # it has just ended
            continue
    return found


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, which runs find and leave as it is."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # 15 otherwise: beside other tests, actors would hardly be run
        try:
            ray.init("local", num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, RuntimeError, OSError) as reason:  # a sandbox may forbid its processes or ports
            pytest.skip(f"Ray cannot be started here: {reason}")
        finally:
            signal.signal(signal.SIGTERM, before)  # Ray puts its own there, and later tests look at it
    yield
    ray.shutdown()


def test_two_actors_of_which_one_is_killed_give_the_same_as_one_process(cluster, data, expected, tmp_path):
    job, work, identity = begun(data, tmp_path)
    told, killed = [], []

    def report(advance: Advance) -> None:
        told.append(advance)
        if advance.texts and not killed:
            killed.extend(actors()[:1])
            os.kill(killed[0], signal.SIGKILL)

    assert sorted(on_ray(job, 2, None, work, identity, SHARDS, report, lambda: False)) == list(SHARDS)
    assert killed
    work.folder.tidy()
    assert content(tmp_path) == expected
    assert rest(tmp_path) == []
    assert sum(advance.texts for advance in told) == ROWS
    assert ray.is_initialized()  # it was not ours to end


def test_a_row_that_fails_ends_a_strict_run(cluster, data, tmp_path):
    with pytest.raises(BadRow, match="this run stops at errors") as told:
        cm.run(data, tmp_path, engine="ray", strict=True, limit=8, **SETTINGS)
    assert type(told.value) is BadRow


def test_told_to_stop_actors_keep_what_they_have(cluster, data, tmp_path, monkeypatch):
    """Small shards: the actor asks twice a second whether to stop, and must not be done before."""
    monkeypatch.setattr("contextmix.datasets.running.cluster._POLL", 0.01)  # of this process, not of the actor
    out = tmp_path / "out"
    job, work, identity = begun(data, out, shard_size=2)

    def stopped() -> bool:
        return any((out / "shards").glob("*.parquet"))

    with pytest.raises(Interrupted):
        list(on_ray(job, 1, None, work, identity, range(ROWS // 2), lambda advance: None, stopped))
    assert 0 < content(out)[0] < ROWS
    for folder in (out, tmp_path / "one"):
        cm.run(data, folder, **{**SETTINGS, "shard_size": 2})
    assert content(out) == content(tmp_path / "one")


def test_an_address_where_no_cluster_is(data, tmp_path):
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(BadOption, match=r"127\.0\.0\.1:9"):
        cm.run(data, tmp_path, engine="ray", address="127.0.0.1:9", **SETTINGS)
