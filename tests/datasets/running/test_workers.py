"""Several processes give what one gives, whichever of them dies, and end when they are told to or are alone."""

import multiprocessing
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from tests.datasets.killing import content, descendants, eventually, living, rest, start, write_texts

import contextmix as cm
from contextmix.datasets.reading.source import open_source
from contextmix.datasets.running.job import Job
from contextmix.datasets.running.run import described
from contextmix.datasets.running.work import Advance
from contextmix.datasets.running.workers import WorkersDied, in_processes
from contextmix.datasets.storage.folder import RunFolder
from contextmix.datasets.storage.identity import model_identity
from contextmix.datasets.storage.settings import Settings
from contextmix.errors import BadRow, Interrupted, OutputUnwritable
from contextmix.models.loaded_model import MEMORY_BUDGET

ROWS, SHARDS = 96, range(12)
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


def job_of(data: Path, out: Path) -> Job:
    settings = Settings(("globenc",), shard_size=8)
    return Job("demo", "float32", None, None, settings, open_source(data), out, 64, MEMORY_BUDGET)


def begun(data: Path, out: Path) -> tuple:
    """A job whose folder is there, and what `in_processes` wants to know of it."""
    job = job_of(data, out)
    work = job.work()
    work.folder.open(described(work))
    return job, work, model_identity(work.measurer.model)


def test_two_processes_that_are_killed_and_replaced_give_the_same_as_one(data, expected, tmp_path):
    job, work, identity = begun(data, tmp_path)
    told, killed = [], []

    def report(advance: Advance) -> None:
        told.append(advance)
        if advance.texts and not killed:
            killed.extend(multiprocessing.active_children())
            for process in killed:
                process.kill()

    assert sorted(in_processes(job, 2, work, identity, SHARDS, report, lambda: False)) == list(SHARDS)
    work.folder.tidy()
    assert content(tmp_path) == expected
    assert sum(advance.texts for advance in told) == ROWS  # the texts that died with it are not told twice
    assert min(advance.texts for advance in told) < 0


def test_a_shard_that_kills_every_worker_ends_the_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr("contextmix.datasets.running.workers.TRIES", 2)
    job, work, identity = begun(data, tmp_path)

    def report(advance: Advance) -> None:
        for process in multiprocessing.active_children() if advance.texts > 0 else []:
            process.kill()

    with pytest.raises(WorkersDied, match=r"2 worker processes died at rows 24 to 31.*SIGKILL"):
        list(in_processes(job, 1, work, identity, [3], report, lambda: False))
    assert multiprocessing.active_children() == []


def test_a_row_that_fails_ends_a_strict_run(data, tmp_path):
    with pytest.raises(BadRow, match="this run stops at errors"):
        cm.run(data, tmp_path, workers=2, strict=True, limit=8, **SETTINGS)
    assert multiprocessing.active_children() == []


def test_a_defect_in_a_worker_is_told_with_its_traceback(data, tmp_path):
    job = replace(job_of(data, tmp_path), out=None)
    with pytest.raises(TypeError, match="NoneType") as told:
        list(in_processes(job, 1, None, None, SHARDS, print, lambda: False))
    assert "in work" in told.value.__notes__[-1]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("error", [OutputUnwritable("here", "it is full"), BadRow("line 3")])
def test_an_error_is_the_same_in_another_process(error):
    ours, theirs = multiprocessing.Pipe()
    ours.send(error)
    found = theirs.recv()
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_told_to_stop_workers_keep_what_they_have(data, expected, tmp_path):
    job, work, identity = begun(data, tmp_path)
    told: list[Advance] = []
    with pytest.raises(Interrupted):
        list(in_processes(job, 1, work, identity, SHARDS, told.append, lambda: bool(told)))
    assert multiprocessing.active_children() == []
    measured = sum(advance.texts for advance in told)
    folder = RunFolder(tmp_path)
    kept = [len(table) for shard in SHARDS for table in folder.parts(shard)]
    assert sum(kept) + sum(rows for rows, _ in folder.finished(len(SHARDS)).values()) == measured < ROWS
    cm.run(data, tmp_path, **SETTINGS)
    assert content(tmp_path) == expected


@pytest.mark.campaign
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(data, expected, tmp_path, how):
    parent = start(data, tmp_path, workers=2)
    assert eventually(lambda: any((tmp_path / "shards").glob("*.parquet")))
    started = descendants(parent.pid)
    assert len(started) >= 2
    parent.send_signal(how)
    said = parent.communicate()[1]
    assert eventually(lambda: not started & living().keys(), seconds=10)
    assert parent.returncode == (-how if how == signal.SIGKILL else 1)
    assert ("Run the same command again" in said) is (how == signal.SIGTERM)
    assert 0 < content(tmp_path)[0] < ROWS
    cm.run(data, tmp_path, **SETTINGS)
    assert content(tmp_path) == expected
    assert rest(tmp_path) == []
