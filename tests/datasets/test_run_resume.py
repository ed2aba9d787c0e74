"""Killed, full, damaged or called twice: what is on the disk stays valid, and the end is the same."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from tests.datasets.runs import ROWS, assert_close, assert_same_content, many, measured, rows_of, save_tiny, table_of

import contextmix as cm
from contextmix.datasets import work
from contextmix.datasets.folder import RunFolder
from contextmix.datasets.measure import Measurer
from contextmix.errors import BadFile, BadOption, Interrupted, OtherRun, OutputUnwritable

LONG = [*many(30), {"text": " "}, *many(9)]
SETTINGS = {"shard_size": 8, "batch_tokens": 12, "methods": ["globenc", "norm"], "maps": True}


@pytest.fixture(scope="module")
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


def interrupt_after(count):
    def before(batches):
        if batches == count:
            os.kill(os.getpid(), signal.SIGTERM)

    return before


def assert_same_run(found, expected):
    """The table bit by bit, and every map."""
    assert_same_content(table_of(found), table_of(expected))
    assert not (found.folder.path / "parts").exists()
    for number in expected.to_pandas(["id"]).index:
        for method in expected.settings.methods:
            one, other = found.map(number, method), expected.map(number, method)
            assert (one.values == other.values).all()


@pytest.mark.parametrize("part_seconds", [0.0, 30.0])
def test_sigterm_between_batches_and_the_same_call_again(demo, tmp_path, calls, whole, monkeypatch, part_seconds):
    monkeypatch.setattr(work, "PART_SECONDS", part_seconds)
    saved = 0
    for _ in range(3):
        calls["before"] = interrupt_after(calls["batches"] + 5)
        with pytest.raises(Interrupted, match=r"rows are saved.*Run the same command again") as stop:
            measured(LONG, tmp_path, model=demo, **SETTINGS)
        before, saved = saved, int(re.search(r"(\d+) of 40 rows are saved", str(stop.value))[1])
        assert saved > before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    calls["before"] = lambda batches: None
    assert_same_run(measured(LONG, tmp_path, model=demo, **SETTINGS), whole)
    assert calls["texts"] == 39  # no text was measured twice


def test_parts_of_a_process_that_was_killed_are_used(demo, tmp_path, calls, whole, monkeypatch):
    monkeypatch.setattr(work, "PART_SECONDS", 0.0)

    def die(batches):
        if batches == 7:
            raise ZeroDivisionError  # nothing of the package catches it, as SIGKILL

    calls["before"] = die
    with pytest.raises(ZeroDivisionError):
        measured(LONG, tmp_path, model=demo, **SETTINGS)
    parts, shards = list((tmp_path / "parts").iterdir()), list((tmp_path / "shards").iterdir())
    assert parts
    assert shards
    folder = RunFolder(tmp_path)
    assert folder.saved(5) == sum(len(part) for part in folder.parts(len(shards))) + 8 * len(shards)
    calls["before"] = lambda batches: None
    assert_same_run(measured(LONG, tmp_path, model=demo, **SETTINGS), whole)
    assert calls["texts"] == 39


def test_a_finished_run_does_nothing_and_keeps_its_summary(demo, tmp_path, calls):
    first = measured(LONG, tmp_path, model=demo, shard_size=8)
    told, texts = first.summary(), calls["texts"]
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    again = measured(LONG, tmp_path, model=demo, shard_size=8)
    assert again.summary() == told
    assert told["texts"] == 40
    assert calls["texts"] == texts
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "footer"])
def test_a_damaged_shard_is_measured_again(demo, tmp_path, calls, whole, damage):
    shutil.copytree(whole.folder.path, tmp_path / "out")
    shard = tmp_path / "out" / "shards" / "00001.parquet"
    content = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        kept = {"cut": content[:-200], "empty": b"", "footer": content[:-40] + bytes(36) + content[-4:]}[damage]
        shard.write_bytes(kept)
    if damage != "gone":
        with pytest.raises(BadFile, match=r"00001\.parquet"):
            cm.open_run(tmp_path / "out").to_pandas()
    assert_same_run(measured(LONG, tmp_path / "out", model=demo, **SETTINGS), whole)
    assert calls["texts"] == 8


# Another run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"methods": "norm"}, [r"settings\.methods\.globenc", r"settings\.methods\.norm"]),
        ({"options": {"globenc": {"normalise": True}}}, [r"settings\.methods\.globenc\.normalise: true now, null there"]),
        ({"query": 1}, [r"settings\.query: 1 now, null there"]),
        ({"layers": "all"}, [r'settings\.layers: "all" now']),
        ({"words": True}, [r"settings\.words: true now, false there"]),
        ({"shard_size": 7}, [r"settings\.shard_size: 7 now, 4096 there"]),
        ({"limit": 3}, [r"data\.rows: 3 now, 6 there"]),
    ],
    ids=str,
)
def test_other_settings_are_refused_and_named(demo, tmp_path, changes, named):
    measured(ROWS, tmp_path, model=demo)
    with pytest.raises(OtherRun) as refusal:
        measured(ROWS, tmp_path, **{"model": demo, **changes})
    lines = str(refusal.value).splitlines()[1:-1]
    assert len(lines) == len(named)
    for line, pattern in zip(lines, named, strict=True):
        assert re.search(pattern, line)


def test_other_data_another_model_and_another_tokenizer_are_refused(tmp_path):
    model = cm.load("demo")
    measured(ROWS, tmp_path, model=model)

    def refused(said, rows=ROWS):
        with pytest.raises(OtherRun, match=said) as refusal:
            measured(rows, tmp_path, model=model)
        assert len(str(refusal.value).splitlines()) == 3

    refused(r"data\.sha256", [{**ROWS[0], "text": ROWS[0]["text"] + "!"}, *ROWS[1:]])
    weight = model.model.bert.encoder.layer[1].output.dense.bias
    before = weight.data[3].item()
    with torch.no_grad():
        weight[3] += 1e-6
    assert weight.data[3].item() != before
    refused(r"model\.weights")
    with torch.no_grad():
        weight[3] = before
    model.model.config.id2label = {0: "bad", 1: "good"}
    refused(r"model\.config")
    model.model.config.id2label = {0: "negative", 1: "positive"}
    measured(ROWS, tmp_path, model=model)
    model.tokenizer.add_tokens(["unforgettable"])
    refused(r"model\.tokenizer")


def test_the_same_model_under_another_name_goes_on(tmp_path):
    model = cm.load("demo")
    measured(ROWS, tmp_path, model=model)
    other = cm.load(model.model, model.tokenizer)
    assert other.origin.model != model.origin.model
    assert measured(ROWS, tmp_path, model=other).finished


def test_a_folder_with_other_files_stays_as_it_is(demo, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(OtherRun, match=r"not empty and not the folder of a run: it holds thesis\.tex"):
        measured(ROWS, tmp_path, model=demo)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_shards_without_a_manifest_are_not_trusted(demo, tmp_path):
    measured(ROWS, tmp_path, model=demo)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(OtherRun, match=r"shards/00000\.parquet and no manifest\.json"):
        measured(ROWS, tmp_path, model=demo, methods="norm")


@pytest.mark.parametrize("content", ["{", '{"format": "other"}', "[]"])
def test_a_manifest_of_something_else(demo, tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BadFile, match=r"manifest\.json"):
        measured(ROWS, tmp_path, model=demo)
    assert (tmp_path / "manifest.json").read_text() == content


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


# As a process --------------------------------------------------------------------------------------------------------


def test_sigterm_ends_the_command_with_75_and_it_goes_on(tmp_path):
    save_tiny(tmp_path / "model")
    rows = [f"{row['text']} {word}" for word in ("face", "plot", "line", "scene") for row in many(200)]
    (tmp_path / "rows.txt").write_text("\n".join(rows), encoding="utf-8")
    code = "import sys; sys.argv[0] = 'contextmix'; from contextmix.cli import main; main()"
    asked = ["run", tmp_path / "rows.txt", "--shard-size", 50, "--batch-tokens", 10, "--out", tmp_path / "out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", code, *map(str, [*asked, "--model", tmp_path / "model"])]
    stopped = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("shards/*.parquet")) and time.monotonic() < deadline:
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=120)
    assert stopped.returncode == 75, said.decode()
    assert b"Traceback" not in said
    assert re.search(rb"contextmix: Stopped before rows\.txt:\d+.*rows are saved.*Run the same command again", said)
    assert 50 <= RunFolder(tmp_path / "out").saved(16) < 800
    settings = {"model": tmp_path / "model", "shard_size": 50, "batch_tokens": 10}
    found = measured(tmp_path / "rows.txt", tmp_path / "out", **settings)
    expected = measured(tmp_path / "rows.txt", tmp_path / "whole", **settings)
    assert found.finished
    assert_same_content(table_of(found), table_of(expected))


def test_options_that_no_run_has(tmp_path, demo):
    with pytest.raises(BadOption, match="limit is 0"):
        measured(ROWS, tmp_path, model=demo, limit=0)
