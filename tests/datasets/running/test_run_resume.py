"""Killed, damaged or called twice: what is on the disk stays valid, and the end is the same."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from tests.datasets.runs import (
    LONG,
    ROWS,
    SETTINGS,
    assert_same_content,
    assert_same_run,
    interrupt_after,
    many,
    measured,
    save_tiny,
    table_of,
)

import contextmix as cm
from contextmix.datasets.running import work
from contextmix.datasets.storage.folder import RunFolder
from contextmix.errors import BadFile, Interrupted, OtherRun


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
        (
            {"options": {"globenc": {"normalise": True}}},
            [r"methods\.globenc\.normalise: true now, null there"],
        ),
        ({"query": 1}, [r"settings\.query: 1 now, null there"]),
        ({"layers": "all"}, [r'settings\.layers: "all" now']),
        ({"words": True}, [r"settings\.words: true now, false there"]),
        ({"shard_size": 7}, [r"settings\.shard_size: 7 now, 1024 there"]),
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
    with pytest.raises(OtherRun, match=r"not empty and not the folder of a run: it contains thesis\.tex"):
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


# As a process --------------------------------------------------------------------------------------------------------


@pytest.mark.campaign
def test_sigterm_ends_the_command_with_75_and_it_goes_on(tmp_path):
    save_tiny(tmp_path / "model")
    rows = [f"{row['text']} {word}" for word in ("face", "plot", "line", "scene") for row in many(100)]
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
    assert 50 <= RunFolder(tmp_path / "out").saved(8) < 400
    settings = {"model": tmp_path / "model", "shard_size": 50, "batch_tokens": 10}
    found = measured(tmp_path / "rows.txt", tmp_path / "out", **settings)
    expected = measured(tmp_path / "rows.txt", tmp_path / "whole", **settings)
    assert found.finished
    assert_same_content(table_of(found), table_of(expected))
