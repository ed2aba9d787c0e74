"""What every source promises, whatever it is made of."""

import csv
import hashlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.datasets.broken import FOUND_LATER, WAYS, write_broken

from contextmix.datasets.reading import lines
from contextmix.datasets.reading.rows import LARGEST_TEXT, Fields
from contextmix.datasets.reading.source import open_source
from contextmix.errors import BadFile

ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")
TEXTS = st.text(ANY, min_size=1, max_size=12).filter(str.strip)
TABLES = st.lists(st.tuples(TEXTS, st.integers(-3, 10**6)), min_size=1, max_size=30)


def write(path: Path, table: list[tuple[str, int]], quoting: int = csv.QUOTE_MINIMAL) -> Path:
    """The table in the format of the ending, by other code than the one that reads it."""
    frame = pd.DataFrame(table, columns=["text", "label"])
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=4)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=quoting).writerows([("text", "label"), *table])
    else:
        each = {
            ".jsonl": [json.dumps({"text": text, "label": label}) for text, label in table],
            ".ndjson": [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in table],
            ".tsv": ["text\tlabel", *(f"{text}\t{label}" for text, label in table)],
            ".txt": [text for text, _ in table],
        }
        path.write_bytes("\n".join([*each[path.suffix], ""]).encode())
    return path


def flat(table: list[tuple[str, int]], ending: str) -> list[tuple[str, int]]:
    """Formats of lines cannot say that a text has several."""
    if ending not in (".tsv", ".txt"):
        return table
    return [("x" + "".join(" " if letter in "\t\r\n" else letter for letter in text), label) for text, label in table]


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"])
@given(table=TABLES, cuts=st.sets(st.integers(0, 30)), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_what_was_written_is_read_in_any_windows(tmp_path_factory, ending, table, cuts, quoting):
    table = flat(table, ending)
    path = write(tmp_path_factory.mktemp("table") / f"t{ending}", table, quoting)
    with patch.object(lines, "STRIDE", 3):
        source = open_source(path)
        whole = list(source.rows())
        edges = [0, *sorted(cut for cut in cuts if cut < len(table)), source.count]
        parts = [row for start, stop in itertools.pairwise(edges) for row in source.rows(start, stop)]
    assert [(row.text, row.label) for row in whole] == [
        (text, None if ending == ".txt" else label) for text, label in table
    ]
    assert [row.number for row in whole] == list(range(source.count))
    assert parts == whole


@given(table=TABLES)
def test_what_is_in_memory_is_read_alike(table):
    frame = pd.DataFrame(table, columns=["text", "label"])
    wanted = [(number, str(number), f"item {number}", *row, None) for number, row in enumerate(table)]
    for data in (frame, frame.to_dict("records")):
        source = open_source(data)
        assert [(row.number, row.id, row.where, row.text, row.label, row.problem) for row in source.rows()] == wanted
        assert not source.portable


def test_many_rows_are_read_from_the_middle(tmp_path):
    table = [(f"text {number}\nof two lines", number) for number in range(1500)]
    for ending in (".csv", ".jsonl", ".parquet"):
        source = open_source(write(tmp_path / f"t{ending}", table))
        for start, stop in ((0, 1), (255, 258), (511, 512), (700, 1400), (1499, 1500), (1500, 1600), (7, 7)):
            assert [(row.text, row.label) for row in source.rows(start, stop)] == table[start:stop]
        assert [row.label for row in source.rows(-2)] == [1498, 1499]


def test_rows_say_where_they_stand(tmp_path):
    csv_file, parquet = tmp_path / "a.csv", tmp_path / "b.parquet"
    csv_file.write_text('id,text\nx,"two\nlines"\ny,one\n')
    pd.DataFrame({"id": ["z"], "text": ["three"]}).to_parquet(parquet)
    rows = list(open_source([csv_file, parquet]).rows())
    assert [(row.number, row.id, row.where, row.text) for row in rows] == [
        (0, "x", "a.csv:2", "two\nlines"),
        (1, "y", "a.csv:4", "one"),
        (2, "z", "b.parquet:0", "three"),
    ]


def test_several_files_are_one_set_in_order(tmp_path):
    for name, text in (("b", "second"), ("a", "first"), ("c", "third")):
        (tmp_path / f"{name}.txt").write_text(f"{text}\n{text} again\n")
    source = open_source(str(tmp_path / "*.txt"))
    assert [row.text for row in source.rows(1, 5)] == ["first again", "second", "second again", "third"]
    assert [row.number for row in source.rows(1, 5)] == [1, 2, 3, 4]
    assert [file["name"] for file in source.fingerprint["files"]] == ["a.txt", "b.txt", "c.txt"]
    chosen = open_source([tmp_path / "c.txt", str(tmp_path / "a.txt")])  # an order that was given is kept
    assert [row.text for row in chosen.rows(1, 3)] == ["third again", "first"]


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.txt").write_text("text\n")
    rows = list(open_source(str(tmp_path / "*" / "t.txt")).rows())
    assert [row.where for row in rows] == ["a/t.txt:1", "b/t.txt:1"]


def test_the_fingerprint_is_the_content(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\ntwo\n\n")
    found = open_source(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.fingerprint == {"files": [{"name": "a.txt", "bytes": 12, "sha256": digest}]}
    assert open_source(path, limit=1).fingerprint == found.fingerprint
    parquet = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["a"]}).to_parquet(parquet)
    digest = hashlib.sha256(parquet.read_bytes()).hexdigest()
    assert open_source(parquet).fingerprint["files"][0]["sha256"] == digest


def test_the_fingerprint_of_what_is_in_memory():
    frame = pd.DataFrame({"text": ["a", "b"], "label": [0, 1], "other": [1, 2]})
    prints = [
        open_source(each).fingerprint["sha256"]
        for each in (frame, frame.copy(), frame.assign(other=3), frame.assign(label=2), frame.assign(text="c"))
    ]
    assert prints[0] == prints[1] == prints[2]  # what is not read does not count
    assert len(set(prints)) == 3
    json.dumps(open_source(frame).fingerprint)
    assert open_source([{"text": "a", "label": np.int64(1)}]).fingerprint == (
        open_source([{"text": "a", "label": 1}]).fingerprint
    )


def test_the_limit_cuts(tmp_path):
    path = write(tmp_path / "t.jsonl", [(f"text {number}", 0) for number in range(10)])
    source = open_source([path], limit=4)
    assert source.count == 4
    assert [row.text for row in source.rows(2, 9)] == ["text 2", "text 3"]
    assert open_source(path, limit=99).count == 10


@pytest.mark.parametrize(
    ("columns", "asked", "found"),
    [
        (["text", "sentence", "label", "id"], {}, Fields("text", None, "label", "id")),
        (["sentence2", "sentence1"], {"pair_field": "sentence2"}, Fields("sentence1", "sentence2")),
        (["question", "sentence"], {"text_field": "sentence"}, Fields("sentence")),
        (["hypothesis", "premise"], {"pair_field": "hypothesis"}, Fields("premise", "hypothesis")),
        (["premise", "label"], {}, Fields("premise", None, "label")),
        (["question", "sentence"], {"pair_field": "sentence"}, Fields("question", "sentence")),
        (["review"], {"text_field": "review"}, Fields("review")),
        (["text", "review", "gold"], {"text_field": "review", "label_field": "gold"}, Fields("review", None, "gold")),
        (["text", "key"], {"id_field": "key"}, Fields("text", None, None, "key")),
    ],
)
def test_columns_are_found_by_a_small_rule(tmp_path, columns, asked, found):
    (tmp_path / "t.tsv").write_text("\t".join(columns) + "\n" + "\t".join("abcd"[: len(columns)]) + "\n")
    assert open_source(tmp_path / "t.tsv", **asked).fields == found


def test_the_only_other_column_is_the_text_if_it_holds_texts(tmp_path):
    data = [{"review": None, "label": 3, "id": "a"}, {"review": "Good.", "label": 4, "id": "b"}]
    assert open_source(data).fields == Fields("review", None, "label", "id")
    pd.DataFrame(data).to_parquet(tmp_path / "t.parquet")
    assert open_source(tmp_path / "t.parquet").fields.text == "review"
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, data)))
    assert open_source(tmp_path / "t.jsonl").fields.text == "review"


def test_a_pair_is_read_as_two_texts(tmp_path):
    (tmp_path / "t.tsv").write_text("question\tsentence\tlabel\nWho ?\tHe .\tentailment\n")
    row = next(open_source(tmp_path / "t.tsv", text_field="question", pair_field="sentence").rows())
    assert (row.text, row.label) == (("Who ?", "He ."), "entailment")


def test_a_copy_works_in_another_process(tmp_path):
    table = [(f"text {number}", number) for number in range(600)]
    source = open_source([write(tmp_path / f"t{ending}", table) for ending in (".tsv", ".parquet")])
    assert source.portable
    sent = pickle.dumps(source)
    assert len(sent) < 5000
    code = "import pickle, sys; rows = pickle.load(sys.stdin.buffer).rows(550, 610); print([row.text for row in rows])"
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, cwd=tmp_path / "elsewhere")
    assert done.stdout.decode().strip() == str([row.text for row in source.rows(550, 610)]), done.stderr.decode()


def test_a_file_that_changes_is_refused(tmp_path):
    for ending in (".jsonl", ".parquet"):
        path = write(tmp_path / f"t{ending}", [("one", 1), ("two", 2)])
        source = open_source(path)
        assert len(list(source.rows())) == 2
        write(path, [("one", 1), ("two more", 2)])
        with pytest.raises(BadFile, match=rf"t{ending} changed after it was scanned"):
            list(source.rows())
        path.unlink()
        with pytest.raises(BadFile, match="There is no file"):
            list(source.rows())


def test_a_file_broken_in_ten_ways(tmp_path):
    ways = write_broken(tmp_path / "t.jsonl")
    source = open_source(tmp_path / "t.jsonl")
    assert source.count == 1000
    assert len(ways) == 50
    assert sorted(ways.values()) == sorted(list(WAYS) * 5)
    rows = list(source.rows())
    found = {row.number: row.problem.kind for row in rows if row.problem}
    assert found == {number: way for number, way in ways.items() if way not in FOUND_LATER}
    assert all((row.text is None) == (row.problem is not None) for row in rows)


def test_the_training_set_of_sst2(shared):
    source = open_source(shared("data/sst2_glue/train.tsv"))
    rows = list(source.rows())
    assert source.count == len(rows) == 67349
    assert {row.label for row in rows} == {0, 1}
    assert [row for row in rows if row.problem] == []
    assert rows[0].text == "hide new secretions from the parental units "
    assert sum(row.label for row in rows) == 37569
    assert list(source.rows(50000, 50100)) == rows[50000:50100]


def test_a_text_of_many_megabytes_is_no_row_for_a_tokenizer(tmp_path):
    """Of every kind of source; its neighbours are read."""
    table = [("good", 1), ("x" * (LARGEST_TEXT + 1), 0), ("y" * LARGEST_TEXT, 0), ("bad", 0)]
    sources = [write(tmp_path / f"rows{ending}", table) for ending in (".jsonl", ".csv", ".tsv", ".txt", ".parquet")]
    for data in (*sources, pd.DataFrame(table, columns=["text", "label"])):
        rows = list(open_source(data).rows())
        assert [row.text and len(row.text) for row in rows] == [4, None, LARGEST_TEXT, 3]
        assert rows[1].problem.kind == "oversized_text"
        assert f"{LARGEST_TEXT + 1:,} characters, and at most {LARGEST_TEXT:,}" in rows[1].problem.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".txt", ".parquet"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, ending):
    def waited(*_):
        raise TimeoutError

    os.mkfifo(tmp_path / f"rows{ending}")
    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(20)
    try:
        for data in (tmp_path / f"rows{ending}", [str(tmp_path / f"rows{ending}")]):
            with pytest.raises(BadFile, match=f"rows{ending} is a pipe or a device"):
                open_source(data)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
