"""Shards and maps that are not what was written: noticed when they are read, and repaired by the same command."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.datasets.runs import LONG, ROWS, SETTINGS, assert_same_run, interrupt_after, measured, rows_of

import contextmix as cm
from contextmix.datasets.running import work
from contextmix.datasets.storage import checksums
from contextmix.errors import BadFile, ContextMixError, Interrupted


@pytest.fixture
def out(whole, tmp_path):
    """A copy of the run that nothing disturbs."""
    shutil.copytree(whole.folder.path, tmp_path / "out")
    return tmp_path / "out"


def flip(path, at=0.2):
    """One bit, far from the footer."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    path.write_bytes(content)


def swap(one, other):
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def manifest_of(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def without_checksums(out):
    """As versions before wrote it."""
    known = manifest_of(out)
    del known["checksums"]
    (out / "manifest.json").write_text(json.dumps(known))


def test_the_manifest_holds_the_checksum_of_every_file(out):
    files = [path for name in ("shards", "maps") for path in (out / name).iterdir()]
    assert len(files) == 10
    wanted = {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert manifest_of(out)["checksums"] == wanted


@pytest.mark.parametrize("at", [0.05, 0.2, 0.3])
@pytest.mark.parametrize("name", ["shards/00001.parquet", "maps/00001-000.safetensors"])
def test_a_flipped_bit_is_told_and_repaired(demo, out, whole, calls, name, at):
    flip(out / name, at)
    found = cm.open_run(out)
    said = rf"{Path(name).name}.*contextmix run … --out {out}"
    reads = [lambda: found.map(9, "norm")]
    if name.startswith("shards"):
        reads += [found.to_pandas, found.failures, found.summary, lambda: found.dataset, lambda: found.row(9, "norm")]
    for read in reads:
        with pytest.raises(BadFile, match=said):
            read()
    assert (found.map(0, "norm").values == whole.map(0, "norm").values).all()  # of another shard
    assert_same_run(measured(LONG, out, model=demo, **SETTINGS), whole)
    assert calls["texts"] == 8
    assert len(list((out / "maps").iterdir())) == 5


@pytest.mark.parametrize("name", ["shards/00001.parquet", "maps/00001-000.safetensors"])
def test_a_file_that_changes_after_it_was_read_is_looked_at_again(out, whole, name):
    found = cm.open_run(out)
    read = found.to_pandas if name.startswith("shards") else lambda: found.map(9, "norm")
    read()
    flip(out / name)
    os.utime(out / name, (1, 1))
    with pytest.raises(BadFile, match=Path(name).name):
        read()


@pytest.mark.parametrize("kept", [True, False])
def test_swapped_shards_are_told_and_repaired(demo, out, whole, calls, kept):
    """Of one run: also where a version before wrote no checksums, by their rows."""
    if not kept:
        without_checksums(out)
    swap(out / "shards" / "00000.parquet", out / "shards" / "00002.parquet")
    found = cm.open_run(out)
    for read in (lambda: found.row(1, "norm"), found.to_pandas):
        with pytest.raises(BadFile, match=r"shards/0000[02]\.parquet in .* damaged or replaced"):
            read()
    assert_same_run(measured(LONG, out, model=demo, **SETTINGS), whole)
    assert calls["texts"] == 16


def test_a_shard_of_another_run_is_told_and_repaired(demo, out, whole, tmp_path, calls):
    other = measured(LONG[::-1], tmp_path / "other", model=demo, **SETTINGS)
    shutil.copy(other.folder.shard(1), out / "shards" / "00001.parquet")
    before = calls["texts"]
    with pytest.raises(BadFile, match=r"shards/00001\.parquet"):
        cm.open_run(out).row(9, "norm")
    assert_same_run(measured(LONG, out, model=demo, **SETTINGS), whole)
    assert calls["texts"] == before + 8


def test_maps_that_were_removed_or_swapped_are_repaired(demo, out, whole, calls):
    (out / "maps" / "00001-000.safetensors").unlink()
    swap(out / "maps" / "00002-000.safetensors", out / "maps" / "00003-000.safetensors")
    found = cm.open_run(out)
    with pytest.raises(BadFile, match=r"removed after the run\. Run the same command again"):
        found.map(9, "norm")
    with pytest.raises(BadFile, match="damaged or replaced"):
        found.map(17, "norm")
    assert_same_run(measured(LONG, out, model=demo, **SETTINGS), whole)
    assert calls["texts"] == 8 + 8 + 7  # one text is empty


def test_a_folder_without_checksums_opens_and_gets_them(demo, out, whole, calls):
    known = manifest_of(out)
    without_checksums(out)
    assert_same_run(cm.open_run(out), whole)
    assert_same_run(measured(LONG, out, model=demo, **SETTINGS), whole)
    assert calls["texts"] == 0
    assert manifest_of(out) == known


def test_without_checksums_a_damaged_page_is_told_by_its_own(out):
    without_checksums(out)
    flip(out / "shards" / "00001.parquet", 0.2)
    with pytest.raises(BadFile, match=r"shards/00001\.parquet"):
        cm.open_run(out).to_pandas()


def test_an_interrupted_run_keeps_the_checksums_of_what_it_finished(demo, tmp_path, calls, monkeypatch, whole):
    monkeypatch.setattr(checksums, "SECONDS", 1e9)
    calls["before"] = interrupt_after(12)
    with pytest.raises(Interrupted):
        measured(LONG, tmp_path, model=demo, **SETTINGS)
    there = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "shards").iterdir()}
    assert there
    assert {name for name in manifest_of(tmp_path)["checksums"] if name.startswith("shards")} == there
    calls["before"] = lambda batches: None
    flip(tmp_path / "shards" / "00000.parquet")
    before = calls["texts"]
    assert_same_run(measured(LONG, tmp_path, model=demo, **SETTINGS), whole)
    assert calls["texts"] - before >= 8


def test_a_damaged_part_of_an_unfinished_shard_is_measured_again(demo, tmp_path, calls, monkeypatch, whole):
    monkeypatch.setattr(work, "PART_SECONDS", 0.0)
    calls["before"] = interrupt_after(2)
    with pytest.raises(Interrupted):
        measured(LONG, tmp_path, model=demo, **SETTINGS)
    for part in (tmp_path / "parts").iterdir():
        flip(part, 0.3)
    calls["before"] = lambda batches: None
    assert_same_run(measured(LONG, tmp_path, model=demo, **SETTINGS), whole)


def test_a_run_at_work_may_replace_a_shard_that_is_being_read(demo, tmp_path):
    found = measured(ROWS, tmp_path, model=demo)
    before = found.row(0).values
    again = measured(ROWS, tmp_path / "again", model=demo, methods=["globenc"])
    shutil.copy(again.folder.shard(0), found.folder.shard(0))
    known = manifest_of(tmp_path) | {"checksums": manifest_of(tmp_path / "again")["checksums"]}
    (tmp_path / "manifest.json").write_text(json.dumps(known))
    os.utime(found.folder.shard(0), (1, 1))
    assert (found.row(0).values == before).all()


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_changes_a_number_in_silence(whole, tmp_path_factory, data):
    """Bytes flipped, cut or put in anywhere, with checksums and without."""
    out = tmp_path_factory.mktemp("damaged") / "out"
    shutil.copytree(whole.folder.path, out)
    if data.draw(st.booleans()):
        without_checksums(out)
    path = data.draw(st.sampled_from(sorted((out / "shards").iterdir())))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "zeros"]))
    if how == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del content[at:]
    elif how == "insert":
        content[at:at] = b"\0" * data.draw(st.integers(1, 9))
    else:
        content[at : at + 16] = bytes(16)
    path.write_bytes(content)
    try:
        found = cm.open_run(out)
        table, row = found.dataset.to_table(), found.row(int(path.stem) * 8, "norm")
    except ContextMixError:
        return
    finally:
        shutil.rmtree(out)
    assert rows_of(table) == list(range(40))
    assert np.array_equal(row.values, whole.row(int(path.stem) * 8, "norm").values)
