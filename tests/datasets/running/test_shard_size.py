"""How many rows are sorted together, where nobody says it."""

import pytest
from tests.datasets.runs import many, measured

from contextmix.datasets.running.job import TASKS
from contextmix.datasets.storage.folder import RunFolder


@pytest.mark.parametrize(
    ("rows", "size"),
    [(1, 1024), (32_767, 1024), (32_768, 2048), (65_535, 2048), (65_536, 4096), (67_349, 4096), (10**7, 4096)],
)
def test_shards_are_larger_where_there_are_enough_of_them(rows, size):
    assert TASKS["explain"].shard_size(rows) == size
    assert size == 1024 or rows // size >= 16


def test_answers_are_dealt_out_in_small_shards_however_many_there_are():
    assert TASKS["answer"].shard_size(10**7) == 64


def test_the_folder_says_the_size_that_was_taken(demo, tmp_path, monkeypatch):
    monkeypatch.setattr("contextmix.datasets.running.explaining.SHARD_SIZE", 2)
    measured(many(40), tmp_path / "own", model=demo)
    measured(many(40), tmp_path / "asked", model=demo, shard_size=40)
    shapes = [RunFolder(tmp_path / name).manifest()["settings"]["shard_size"] for name in ("own", "asked")]
    assert shapes == [2, 40]
    assert len(RunFolder(tmp_path / "own").shards()) == 20
