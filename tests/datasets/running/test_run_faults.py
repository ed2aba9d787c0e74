"""Full disks, closed folders, and rows that failed before."""

import errno
import os
import re
import shutil

import pytest
import torch
from tests.datasets.runs import (
    LONG,
    ROWS,
    SETTINGS,
    assert_close,
    assert_same_content,
    assert_same_run,
    interrupt_after,
    measured,
    rows_of,
    table_of,
)

import contextmix as cm
from contextmix.datasets.running import work
from contextmix.datasets.storage.folder import RunFolder
from contextmix.errors import Interrupted, OutputUnwritable

# Disks ---------------------------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(demo, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(work, "PART_SECONDS", 0.0)
    real, written = os.fsync, []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Interrupted, match=r"No space left on device.*rows are saved\. Make room") as stop:
        measured(LONG, tmp_path, model=demo, **SETTINGS)
    saved = int(re.search(r"(\d+) of 40 rows are saved", str(stop.value))[1])
    assert 0 < saved < 40
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.setattr(os, "fsync", real)
    assert RunFolder(tmp_path).saved(5) == saved
    assert_same_run(measured(LONG, tmp_path, model=demo, **SETTINGS), whole)


def test_a_disk_that_is_full_at_once(demo, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputUnwritable, match=r"manifest\.json: No space left"):
        measured(ROWS, tmp_path / "out", model=demo)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may write everywhere")
def test_a_folder_that_may_not_be_written(demo, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputUnwritable, match="Permission denied"):
            measured(ROWS, tmp_path / "out", model=demo)
    finally:
        tmp_path.chmod(0o700)


def test_a_lock_that_cannot_be_made_and_a_file_in_the_way(demo, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("here")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputUnwritable, match=r"file.*(Not a directory|File exists)"):
            measured(ROWS, out, model=demo)

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", denied)
    with pytest.raises(OutputUnwritable, match="Permission denied"):
        measured(ROWS, tmp_path / "out", model=demo)


# Rows that failed before ---------------------------------------------------------------------------------------------


def test_failed_rows_are_tried_again_and_no_others(demo, tmp_path, calls, monkeypatch, whole):
    real, length = cm.TracedModel.measure_batch, len(demo.encode(LONG[2]["text"])[0].tokens)

    def full(self, tensors, *more):
        if tensors["input_ids"].shape[1] == length:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, tensors, *more)

    monkeypatch.setattr(cm.TracedModel, "measure_batch", full)
    first = measured(LONG, tmp_path, model=demo, **SETTINGS)
    before = table_of(first)
    failed = first.summary()["problems"]
    assert failed == {"out_of_memory": 13, "empty_text": 1}
    monkeypatch.setattr(cm.TracedModel, "measure_batch", real)
    calls["texts"] = 0
    assert measured(LONG, tmp_path, model=demo, **SETTINGS).summary() == first.summary()
    assert calls["texts"] == 0
    found = measured(LONG, tmp_path, model=demo, retry_failed=True, **SETTINGS)
    assert calls["texts"] == 13
    assert found.summary()["problems"] == {"empty_text": 1}
    after, good = table_of(found), before["problem"].is_null()
    assert_same_content(after.filter(good), before.filter(good))
    for number in whole.to_pandas(["id"]).index:  # smaller batches, so other last bits
        assert_close(found.row(number, "globenc").values, whole.row(number, "globenc").values)
        assert_close(found.map(number, "norm").values, whole.map(number, "norm").values)


def test_failures_in_parts_are_tried_again_too(demo, tmp_path, calls, monkeypatch, whole):
    monkeypatch.setattr(work, "PART_SECONDS", 0.0)
    real = cm.TracedModel.measure_batch

    def full(self, *more):
        raise MemoryError("all of it is gone")

    calls["before"] = interrupt_after(12)
    monkeypatch.setattr(cm.TracedModel, "measure_batch", full)
    with pytest.raises(Interrupted):
        measured(LONG, tmp_path, model=demo, **SETTINGS)
    assert list((tmp_path / "parts").iterdir())
    monkeypatch.setattr(cm.TracedModel, "measure_batch", real)
    calls["before"] = lambda batches: None
    found = measured(LONG, tmp_path, model=demo, retry_failed=True, **SETTINGS)
    assert found.summary()["problems"] == {"empty_text": 1}
    assert rows_of(table_of(found)) == list(range(40))
    for number in (0, 7, 20):
        assert_close(found.row(number, "globenc").values, whole.row(number, "globenc").values)


def test_a_kill_between_a_shard_and_its_parts_doubles_no_row(demo, tmp_path, monkeypatch, whole):
    """The shard is there, its parts are too, and then failed rows are tried again."""
    shutil.copytree(whole.folder.path, tmp_path / "out")
    folder = RunFolder(tmp_path / "out")
    (folder.path / "parts").mkdir()
    folder.write_part(3, [folder.read(3)])
    assert len(folder.parts(3)) == 1
    assert_same_run(measured(LONG, folder.path, model=demo, retry_failed=True, **SETTINGS), whole)
