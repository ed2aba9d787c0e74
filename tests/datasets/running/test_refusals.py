"""What is refused before any work, and what the message says."""

import gzip
import os
import re
import sys

import pandas as pd
import pytest

from contextmix.datasets.reading.by_name import load_table
from contextmix.datasets.reading.source import open_source
from contextmix.errors import BadFile, BadInput, BadOption


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.xyz", b"good\n", r"ends in '\.xyz'; supported endings are \.jsonl"),
        ("t.jsonl.gz", gzip.compress(b"{}", mtime=0), r"ends in '\.gz'"),
        ("t.txt", gzip.compress(b"good", mtime=0), "t.txt is compressed by gzip"),
        ("t.csv", b"PK\x03\x04 and more", "is a zip archive"),
        ("t.txt", "good\n".encode("utf-16"), "is UTF-16"),
        ("t.txt", "good\n".encode("utf-16-be"), "is UTF-16 or not text"),
        ("t.txt", b"one\rtwo\r", "carriage returns as line ends"),
        ("t.csv", b"PAR1\x15\x04", "is Parquet"),
        ("t.csv", b"", "t.csv has no header"),
        ("t.tsv", b"\ntext\tlabel\n", "t.tsv has no header"),
        ("t.csv", b'"text,label\ngood,1\n', "t.csv has no header"),
        ("t.csv", b"text,label,text\n", "duplicate columns: 'text', 'label', 'text'"),
        ("t.csv", b"text,\ngood,1\n", "unnamed or duplicate columns"),
        ("t.jsonl", b'[{"text": "good"},\n{"text": "good"}]\n', "goes on in the next line"),
        ("t.json", b'{\n  "text": "good"\n}\n', "one that is indented"),
        ("t.jsonl", b'"good"\n["good"]\n', "no JSON object in its first 2 lines"),
        ("t.json", b'[\n  {"text": "good"}\n]\n', "begins with a list or an object that goes on in the next line"),
        ("t.json", b'[{"text": "good"},\n{"text": "good"}\n]\n', "begins with a list or an object that goes on"),
        ("t.parquet", b"text\ngood\n", "Cannot read t.parquet: "),
        ("t.parquet", b"", "Cannot read t.parquet: "),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=said):
        open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_file_that_is_not_there(tmp_path, name):
    for data in (tmp_path / name, str(tmp_path / name), [tmp_path / name], tmp_path / "t"):
        with pytest.raises(BadFile, match=r"There is no file|ends in ''"):
            open_source(data)


def test_a_pattern_without_files_and_a_folder_among_files(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(BadFile, match=r"No file matches .*\*\.jsonl"):
        open_source(str(tmp_path / "*.jsonl"))
    with pytest.raises(BadFile, match=r"is a folder\. Name its files"):
        open_source([tmp_path / "folder.jsonl"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "t.txt").write_text("good")
    (tmp_path / "t.txt").chmod(0)
    with pytest.raises(BadFile, match=r"Cannot read t\.txt: Permission denied"):
        open_source(tmp_path / "t.txt")


def test_a_disk_that_fails(tmp_path, monkeypatch):
    (tmp_path / "t.txt").write_text("good")
    source = open_source(tmp_path / "t.txt")
    monkeypatch.setattr("pathlib.Path.open", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(BadFile, match=r"Cannot read t\.txt: Input/output error"):
        list(source.rows())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "empty list"),
        (3, "of type int"),
        (b"good", "of type bytes"),
        (None, "of type NoneType"),
        ([1, 2], "of type list"),
        ({"text": ["good"]}, "of type dict"),
        (pd.DataFrame({"text": []}), "has no rows"),
    ],
)
def test_data_of_another_kind(data, said):
    with pytest.raises(BadInput, match=said):
        open_source(data)


@pytest.mark.parametrize(("name", "content"), [("t.jsonl", ""), ("t.txt", "\n\n"), ("t.csv", "text,label\n\n")])
def test_files_without_rows(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match="has no rows"):
        open_source(tmp_path / name)


def test_a_file_named_twice(tmp_path):
    (tmp_path / "t.txt").write_text("good\n")
    with pytest.raises(BadInput, match=r"t\.txt is listed more than once"):
        open_source([tmp_path / "t.txt", str(tmp_path / "*.txt")])


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (("a.csv", "text,label\nx,1\n"), ("b.csv", "text\nx\n"), "only one of them has label"),
        (("a.csv", "text\nx\n"), ("b.tsv", "text\tgenre\nx\ty\n"), "only one of them has genre"),
        (("a.jsonl", '{"text": "x", "label": 1}'), ("b.jsonl", '{"text": "x"}'), "only one of them has label"),
        (("a.jsonl", '{"text": "x"}'), ("b.jsonl", '{"text": "x", "id": 1}'), "only one of them has id"),
        (("a.jsonl", '{"text": "x"}'), ("b.jsonl", '{"sentence": "x"}'), "only one of them has text"),
        (("a.txt", "x\n"), ("b.csv", "text,label\nx,1\n"), "only one of them has label"),
    ],
)
def test_mixed_schemas(tmp_path, one, two, said):
    for name, content in (one, two):
        (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=f"{one[0]} and {two[0]} have different columns: {said}"):
        open_source([tmp_path / one[0], tmp_path / two[0]])


def test_fields_that_are_not_read_may_differ_between_files_of_json(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "stars": 1}')
    (tmp_path / "b.jsonl").write_text('{"text": "x", "likes": 1}')
    (tmp_path / "c.jsonl").write_text("")  # a shard without rows
    assert open_source(str(tmp_path / "*.jsonl")).count == 2


@pytest.mark.parametrize(
    ("header", "asked", "said"),
    [
        ("text,label", {"text_field": "txt"}, "no column 'txt'. Did you mean 'text'?"),
        ("text,label", {"label_field": "gold"}, "no column 'gold'"),
        ("text,label", {"id_field": "id"}, "no column 'id'"),
        ("text,label", {"pair_field": "text"}, "It is not clear which column"),
        ("text,label", {"text_field": "text", "pair_field": "text"}, "cannot both be the column 'text'"),
        ("sentence1,sentence2", {}, "t.csv has pairs of texts, in 'sentence1' and 'sentence2'. Name both"),
        ("question,sentence", {}, "t.csv has pairs of texts, in 'sentence' and 'question'."),
        ("review,label", {}, "It is not clear which column of t.csv holds the text: it has 'review', 'label'."),
        ("a fine film,1", {}, "If its first line is a row, add a line with the column names above it."),
        ("review", {}, "not clear which column"),
        ("text,label", {"limit": 0}, "limit=0 must be"),
        ("text,label", {"limit": True}, "limit=True must be"),
        ("text,label", {"limit": 1.5}, "limit=1.5 must be"),
        ("text,label", {"split": "train"}, "The split 'train' belongs to"),
    ],
)
def test_options_that_do_not_fit(tmp_path, header, asked, said):
    (tmp_path / "t.csv").write_text(f"{header}\n{','.join('x' for _ in header.split(','))}\n")
    with pytest.raises(BadOption, match=re.escape(said)):
        open_source(tmp_path / "t.csv", **asked)


def test_a_column_of_texts_is_not_guessed_among_others():
    with pytest.raises(BadOption, match=r"it has 'title', 'review', 'label'\. Name it with text_field"):
        open_source([{"title": "a", "review": "b", "label": "c"}])
    with pytest.raises(BadOption, match="It is not clear"):
        open_source([{"tokens": ["a", "fine", "film"], "genre": "drama", "label": 1}])
    with pytest.raises(BadOption, match="It is not clear"):
        open_source([{"tokens": ["a", "fine", "film"], "label": 1}])


def test_columns_of_pandas_that_share_a_name():
    with pytest.raises(BadFile, match="The DataFrame has unnamed or duplicate columns"):
        open_source(pd.DataFrame([["a", "b"]], columns=["text", "text"]))


def test_a_name_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadInput, match=r"pip install 'contextmix\[datasets\]'"):
        load_table("stanfordnlp/sst2", None)
    assert open_source([{"text": "good"}]).count == 1
