"""The table: its columns and types, nested lists, and who can read it."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.datasets.runs import ROWS, measured, rows_of, table_of

from contextmix.datasets.reading.rows import Problem, Row
from contextmix.datasets.storage.table import SCHEMA, Result, as_table, nested, schema, text_hash
from contextmix.tokens.pieces import Tokens

COLUMNS = {
    "row": "int64",
    "id": "string",
    "source": "string",
    "text_hash": "string",
    "label": "string",
    "tokens": "list<item: string>",
    "ids": "list<item: int32>",
    "special": "list<item: bool>",
    "words": "list<item: int32>",
    "starts": "list<item: int32>",
    "ends": "list<item: int32>",
    "query": "int32",
    "prediction": "string",
    "probability": "double",
    "target": "string",
    "conservation": "double",
    "block_equation": "double",
    "notes": "string",
    "problem": "string",
    "reason": "string",
}
"""Written down once more: a changed column is a new version of the schema."""


def test_the_columns_of_schema_1():
    found = schema({"globenc": 1, "norm": 2, "attention": 3})
    assert SCHEMA == 1
    assert {field.name: str(field.type).replace("element", "item") for field in found} == COLUMNS | {
        "globenc": "list<item: float>",
        "norm": "list<item: list<item: float>>",
        "attention": "list<item: list<item: list<item: float>>>",
    }
    assert all(found.field(name).metadata[b"about"] for name in COLUMNS)


@given(st.data())
def test_nested_lists_of_every_depth(data):
    axes = data.draw(st.integers(1, 4))
    array = hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=axes, max_dims=axes, min_side=0, max_side=4),
        elements=st.floats(-1024, 1024, width=32),
    )
    values = data.draw(st.lists(st.none() | array, max_size=6))
    found = nested(values, axes)
    found.validate(full=True)
    assert found.to_pylist() == [None if one is None else one.tolist() for one in values]
    expected = pa.float32()
    for _ in range(axes):
        expected = pa.list_(expected)
    assert found.type == expected


def test_a_slice_of_a_batch_and_numbers_of_64_bits_become_what_they_say():
    batch = np.arange(24.0).reshape(2, 3, 4)
    assert nested([batch[:, 1], batch[:, :, 2]], 2).to_pylist() == [batch[:, 1].tolist(), batch[:, :, 2].tolist()]


def test_a_failure_has_a_reason_and_nothing_else():
    good, bad = Row(0, "a", "x:1", "é", 1), Row(1, "\ud83d", "x:2", None, None, Problem("wrong_type", "No \ud83d."))
    tokens = Tokens(("[CLS]", "é"), (1, 2), (True, False), (None, 0), (None, (0, 1)), "é")
    done = Result(good, tokens, {"globenc": np.array([0.5, 1.5])}, 0, {"label": "positive", "probability": 0.75})
    first, second = as_table([done, Result(bad, problem=bad.problem)], {"globenc": 1}).to_pylist()
    assert second.pop("reason") == "No \\ud83d."
    assert {name: value for name, value in second.items() if value is not None} == {
        "row": 1,
        "id": "\\ud83d",
        "source": "x:2",
        "problem": "wrong_type",
    }
    assert first["globenc"] == [0.5, 1.5]
    assert (first["starts"], first["ends"], first["words"]) == ([None, 0], [None, 1], [None, 0])
    assert (first["label"], first["prediction"], first["probability"]) == ("1", "positive", 0.75)
    assert first["text_hash"] == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"


def test_texts_and_pairs_that_look_alike_have_other_hashes():
    texts = ["ab", ("a", "b"), ("ab", ""), ("", "ab"), "a b", None]
    assert len({text_hash(text) for text in texts}) == len(texts)


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    rows = [*ROWS[:2], {"text": " ", "label": 1}, *ROWS[2:]]
    options = {"methods": ["globenc", "norm"], "options": {"norm": {"heads": "each"}}, "layers": "all"}
    return measured(rows, tmp_path_factory.mktemp("run") / "out", model=demo, shard_size=3, **options)


def test_rows_stand_in_the_order_of_the_data(run):
    assert rows_of(table_of(run)) == list(range(7))
    for number in range(3):
        shard = pq.read_table(run.folder.shard(number))
        assert rows_of(shard) == list(range(3 * number, min(3 * number + 3, 7)))
    assert pq.read_metadata(run.folder.shard(0)).metadata[b"contextmix.failed"] == b"1"


def test_other_programs_read_it_without_contextmix(run):
    """By the documented layout alone, in a process that never imports the package."""
    code = (
        "import sys, json, pandas, pyarrow.dataset as ds\n"
        "frame = pandas.concat(pandas.read_parquet(path) for path in sys.argv[2:])\n"
        "table = ds.dataset(sys.argv[1], format='parquet').to_table(columns=['row', 'norm'])\n"
        "assert not any(name.startswith('contextmix') for name in sys.modules)\n"
        "shape = [len(table['norm'][0]), len(table['norm'][0][0]), len(table['norm'][0][0][0])]\n"
        "print(json.dumps([frame.row.tolist(), frame.problem.notna().tolist(), len(frame.tokens.iloc[0]), shape]))\n"
    )
    shards = sorted((run.folder.path / "shards").iterdir())
    command = [sys.executable, "-c", code, shards[0].parent, *shards]
    said = subprocess.run([*map(str, command)], capture_output=True, check=True, timeout=120).stdout
    rows, failed, tokens, shape = json.loads(said)
    assert rows == list(range(7))
    assert [number for number, is_failed in enumerate(failed) if is_failed] == [2]
    assert shape == [3, run.row(0, "norm").shape[1], tokens]


def test_the_manifest_says_how_to_read_the_columns(run):
    manifest = json.loads((run.folder.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["columns"]["norm"]["dims"] == ["layer", "head", "key"]
    assert manifest["columns"]["globenc"]["dims"] == ["layer", "key"]
    assert manifest["columns"]["norm"]["layers"] == [0, 1, 2]
    assert manifest["columns"]["norm"]["quantity"] == "norm"
    assert manifest["settings"]["methods"] == {"globenc": {}, "norm": {"heads": "each"}}
    assert manifest["data"]["rows"] == 7
    assert set(manifest["versions"]) == {"contextmix", "torch", "transformers"}
    assert all(len(manifest["model"][name]) == 64 for name in ("weights", "config", "tokenizer"))
    assert manifest["summary"]["texts"] == 7


def test_pandas_gets_what_is_stored(run):
    frame = run.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame.index.tolist() == [0, 1, 3, 4, 5, 6]
    assert frame.index.name == "row"
    for number in frame.index:
        stacked = np.array([layer.tolist() for layer in frame.globenc[number]], dtype=np.float32)
        assert np.array_equal(stacked, run.row(number, "globenc").values)
