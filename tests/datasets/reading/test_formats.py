"""Where rows end, and every way in which a row can be no text."""

import csv
import io
import json
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextmix.datasets.reading import formats
from contextmix.datasets.reading.duplicates import Duplicates
from contextmix.datasets.reading.source import open_source


def rows(path, content, **options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(open_source(path, **options).rows())


def kinds(found):
    return [row.problem.kind if row.problem else row.text for row in found]


@given(st.text(st.sampled_from('a",\n'), max_size=40))
def test_rows_of_csv_end_where_the_reader_of_the_standard_library_ends_them(text):
    raws = list(formats.rows_of_csv(io.BytesIO(text.encode()), 1))
    reader = csv.reader(io.StringIO(text, newline=""))
    ends = [reader.line_num for _ in reader]
    assert [last for _, _, last, _ in raws] == ends
    assert [first for _, first, _, _ in raws] == [1, *(end + 1 for end in ends)][: len(ends)]
    assert sum(size for size, *_ in raws) == len(text)
    inside, opened = False, isinstance(raws[-1][3], formats.Problem) if raws else False
    for line in text.encode().splitlines(keepends=True):
        inside = formats.quote_open(line, inside)
    assert inside == opened


GOOD = '{"text": "good"}'
JSON_LINES = [
    ('{"text": "good"', "broken_json"),
    ('{"text": "good"} {"text": "good"}', "broken_json"),
    ("[" * 100_000, "broken_json"),
    ('{"text": ' + "9" * 5000 + "}", "broken_json"),
    ('["good"]', "not_an_object"),
    ('"good"', "not_an_object"),
    ("null", "not_an_object"),
    ("", "empty_line"),
    ("  ", "empty_line"),
    ('{"texts": "good"}', "missing_field"),
    ('{"text": null}', "missing_text"),
    ('{"text": NaN}', "missing_text"),
    ('{"text": 3}', "wrong_type"),
    ('{"text": true}', "wrong_type"),
    ('{"text": ["a", "good", "film"]}', "a good film"),  # words, as HateXplain has them
    ('{"text": ["a", 3]}', "wrong_type"),
    ('{"text": ["a", null]}', "wrong_type"),
    ('{"text": []}', "empty_text"),
    ('{"text": [" "]}', "empty_text"),
    ('{"text": {"en": "good"}}', "wrong_type"),
    ('{"text": ""}', "empty_text"),
    ('{"text": " \\u3000\\n"}', "empty_text"),
    ('{"text": "\\ud800"}', "lone_surrogate"),
    ('{"text": "\\udc00 \\ud83d"}', "lone_surrogate"),
    ('{"text": "\\ud83d\\ude00"}', "\U0001f600"),  # both halves of a face
    ('{"text": "a\\u0000b"}', "a\0b"),  # tokenizers read it
    ('{"text": "a\u2028b"}', "a\u2028b"),  # no end of a line
    ('{"text": "good", "label": 1, "more": {"not": "asked for"}}\r', "good"),  # the others have no label
]


@pytest.mark.parametrize(("line", "kind"), JSON_LINES, ids=range(len(JSON_LINES)))
def test_a_line_of_json_is_a_text_or_a_problem(tmp_path, line, kind):
    found = rows(tmp_path / "t.jsonl", "\n".join((GOOD, line, GOOD)))
    assert kinds(found) == ["good", kind, "good"]
    assert [row.where for row in found] == ["t.jsonl:1", "t.jsonl:2", "t.jsonl:3"]
    assert [row.id for row in found] == ["0", "1", "2"]


def test_bytes_that_are_no_text_spoil_their_row_only(tmp_path):
    found = rows(tmp_path / "t.txt", b"good\ncaf\xe9 au lait\ngood\n")
    assert kinds(found) == ["good", "invalid_utf8", "good"]
    assert found[1].problem.reason.startswith("Byte 4 of the row is 0xe9")
    texts = pa.Array.from_buffers(pa.string(), 3, pa.array(["good", "caf~", "good"]).buffers())
    data = [None, texts.buffers()[1], pa.py_buffer(texts.buffers()[2].to_pybytes().replace(b"~", b"\xe9"))]
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 3, data)}), tmp_path / "t.parquet")
    assert kinds(open_source(tmp_path / "t.parquet").rows()) == ["good", "invalid_utf8", "good"]


LABELS = [  # the label in JSON, what it is, whether that is a problem
    ("1", 1, False),
    ("true", 1, False),
    ("1.0", 1, False),
    ('"1"', "1", False),
    ('""', "", False),
    ("null", None, False),
    ("0.5", None, True),
    ("[1]", None, True),
    ('{"a": 1}', None, True),
    ('"\\ud800"', None, True),
    ("9223372036854775808", None, True),
    ("1e400", None, True),
]


@pytest.mark.parametrize(("label", "value", "wrong"), LABELS)
def test_labels_are_names_or_whole_numbers(tmp_path, label, value, wrong):
    found = rows(tmp_path / "t.jsonl", f'{{"text": "good", "label": {label}}}')[0]
    assert found.label == value
    assert type(found.label) is type(value)
    assert (found.problem is not None and found.problem.kind == "wrong_label") == wrong


def test_digits_in_a_file_of_texts_are_numbers(tmp_path):
    labels = ["0", "-1", "12", "007", "-0", "1.5", "", "yes", "٣", "1" * 30]
    wanted = [0, -1, 12, "007", "-0", "1.5", None, "yes", "٣", "1" * 30]
    for ending, mark in (("tsv", "\t"), ("csv", ",")):
        found = rows(tmp_path / f"t.{ending}", "\n".join([f"text{mark}label", *(f"good{mark}{x}" for x in labels)]))
        assert [row.label for row in found] == wanted
        assert all(row.problem is None for row in found)


def test_ids_are_texts_or_whole_numbers(tmp_path):
    ids = ['"a"', "7", '"b"', '"a"', "null", '""', "1.5", "true", "[1]", '"\\ud800"', '"7"', '"a"']
    lines = [f'{{"text": "good", "id": {each}}}' for each in ids]
    found = rows(tmp_path / "t.jsonl", "\n".join([*lines, '{"text": "good"}', "{", '{"text": 3, "id": "b"}']))
    good, twice, missing, wrong = "good", "duplicate_id", "missing_id", "wrong_id"
    assert kinds(found[:12]) == [good, good, good, twice, missing, missing, wrong, wrong, wrong, wrong, twice, twice]
    assert kinds(found[12:]) == ["missing_id", "broken_json", twice]
    assert [row.id for row in found] == ["a", "7", "b", "a", "4", "5", "6", "7", "8", "9", "7", "a", "12", "13", "b"]
    assert [found[number].problem.reason.partition(" has")[0] for number in (3, 10, 11, 14)] == [
        f"Row {first} (counted from 0)" for first in (0, 1, 0, 2)
    ]


def test_an_id_is_compared_through_all_files_and_formats(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,good\n2,good\n")
    pd.DataFrame({"id": [3, 2], "text": ["good", "good"]}).to_parquet(tmp_path / "b.parquet")
    found = list(open_source([tmp_path / "a.csv", tmp_path / "b.parquet"]).rows())
    assert kinds(found) == ["good", "good", "good", "duplicate_id"]
    assert found[3].problem.reason.startswith("Row 1 (counted from 0) has the id '2' already.")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40))
def test_duplicates_are_what_a_dictionary_finds(pairs):
    digests = np.array(pairs, dtype=[("high", np.uint64), ("low", np.uint64)])
    found, seen = Duplicates.of(digests), {}
    for number, pair in enumerate(pairs):
        wanted = seen.setdefault(pair, number) if pair != (0, 0) else number
        assert found.first_of(number) == (None if wanted == number else wanted)


def test_tsv_knows_no_quotes(tmp_path):
    found = rows(
        tmp_path / "t.tsv", 'sentence\tlabel\n"a quote that stays\t1\nsays "" twice\t0\r\na\t1\t2\n\nalone\n\t1\n'
    )
    assert kinds(found) == [
        '"a quote that stays', 'says "" twice', "wrong_columns", "empty_line", "wrong_columns", "empty_text",
    ]  # fmt: skip
    assert found[2].problem.reason.startswith("The line is a row of 3 columns, and the header has 2.")


def test_csv_knows_quotes(tmp_path):
    lines = [
        "text,label",
        '"a ""quote"", a comma,',
        'and a line",1',
        '5" wide,2',
        '"good"or bad,3',
        '"unclosed,4',
        'next,5"',
        "",
        "plain,6",
        "one,two,7",
        '"from here on,8',
        "swallowed,9",
        "swallowed too,10",
    ]
    found = rows(tmp_path / "t.csv", "\n".join(lines))
    assert kinds(found) == [
        'a "quote", a comma,\nand a line', '5" wide', "broken_csv", "wrong_columns", "empty_line", "plain",
        "wrong_columns", "open_quote",
    ]  # fmt: skip
    assert [row.where for row in found] == [f"t.csv:{line}" for line in (2, 4, 5, 6, 8, 9, 10, 11)]
    assert "Lines 6 to 7 are, by their quotes, a row of 1 columns" in found[3].problem.reason
    assert found[-1].problem.reason.startswith("A quote opens in line 11 and never closes, so lines 11 to 13 are lost.")


def test_only_blank_lines_at_the_very_end_are_nothing(tmp_path):
    for ending, head in (("jsonl", ""), ("txt", ""), ("tsv", "text\n"), ("csv", "text\n")):
        good = GOOD if ending == "jsonl" else "good"
        for end in ("", "\n", "\r\n", "\n\n\r\n"):
            found = rows(tmp_path / f"t.{ending}", f"{head}{good}\n\n{good}{end}")
            assert kinds(found) == ["good", "empty_line", "good"]


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_text(tmp_path):
    for ending, content in (
        ("jsonl", '{"text": "good"}\r\n{"text": "good"}\r\n'),
        ("txt", "good\r\ngood\r\n"),
        ("tsv", "text\tlabel\r\ngood\t1\r\ngood\t1\r\n"),
        ("csv", 'text,label\r\n"good",1\r\ngood,1\r\n'),
    ):
        found = rows(tmp_path / f"t.{ending}", b"\xef\xbb\xbf" + content.encode())
        assert kinds(found) == ["good", "good"]
        assert {row.label for row in found} == ({None} if ending in ("jsonl", "txt") else {1})


def test_long_rows_are_read_and_endless_ones_refused(tmp_path):
    long = "word " * 100_000  # more than the csv module reads unless told
    assert rows(tmp_path / "t.csv", f'text\n"{long}"\n')[0].text == long
    assert rows(tmp_path / "t.tsv", f"text\n{long}\n")[0].text == long
    with patch.object(formats, "LARGEST_ROW", 50):
        for ending, head in (("txt", ""), ("csv", "text\n")):
            found = rows(tmp_path / f"t.{ending}", f"{head}good\n{'x' * 49}\n{'x' * 50}\n{'x' * 120}\ngood\n{'x' * 50}")
            assert kinds(found) == ["good", "x" * 49, "oversized_row", "oversized_row", "good", "x" * 50]
            assert [int(row.where.partition(":")[2]) for row in found] == [
                number + len(head.split()) for number in range(1, 7)
            ]
        found = rows(tmp_path / "t.csv", 'text\ngood\n"' + "xxxxxxxxx\n" * 6 + '"\ngood\n"' + "x\n" * 60)
        assert kinds(found) == ["good", "oversized_row", "good", "open_quote"]
        assert "Lines 3 to 9 are one row of 63 bytes" in found[1].problem.reason


def test_a_pair_needs_both_texts(tmp_path):
    pairs = [("a", "b"), ("a", None), (None, "b"), ("a", " "), ("a", 3)]
    lines = [json.dumps({"text": one, "other": two}) for one, two in pairs] + ['{"text": "a"}']
    found = rows(tmp_path / "t.jsonl", "\n".join(lines), pair_field="other")
    assert kinds(found) == [("a", "b"), "missing_text", "missing_text", "empty_text", "wrong_type", "missing_field"]
    assert "'other'" in found[1].problem.reason
    assert "'text'" in found[2].problem.reason


def test_empty_cells_of_pandas_are_missing_texts():
    frame = pd.DataFrame({"text": ["good", np.nan, None, pd.NA, 3.5, "good"], "label": [1, 0, np.nan, 1, 1, 1]})
    assert kinds(open_source(frame).rows()) == ["good", *["missing_text"] * 3, "wrong_type", "good"]
    assert [row.label for row in open_source(frame).rows()] == [1, 0, None, 1, 1, 1]
    typed = pd.DataFrame({"text": pd.array(["good", pd.NA], dtype="string"), "label": pd.array([True, pd.NA])})
    assert [(row.text, row.label) for row in open_source(typed).rows()] == [("good", 1), (None, None)]
    names = pd.DataFrame({"text": ["good"] * 2, "label": pd.Categorical(["yes", None])})
    assert [row.label for row in open_source(names).rows()] == ["yes", None]


def test_columns_of_parquet_have_types(tmp_path):
    table = pa.table(
        {
            "text": pa.array(["good", None, "good", "good"]).dictionary_encode(),
            "label": pa.array([1, 0, None, 1], pa.int8()),
            "id": pa.array([10, 11, 12, 10]),
            "more": [[1], [], None, [2]],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    found = list(open_source(tmp_path / "t.parquet").rows())
    assert kinds(found) == ["good", "missing_text", "good", "duplicate_id"]
    assert [(row.id, row.label, row.where) for row in found[2:]] == [
        ("12", None, "t.parquet:2"),
        ("10", 1, "t.parquet:3"),
    ]
    pq.write_table(pa.table({"text": [b"good"]}), tmp_path / "b.parquet")
    assert kinds(open_source(tmp_path / "b.parquet").rows()) == ["wrong_type"]


def test_an_item_that_is_no_dictionary_is_a_problem():
    found = list(
        open_source([{"text": "good", "label": np.int64(1)}, "good", {"text": "good", "label": np.bool_(True)}]).rows()
    )
    assert kinds(found) == ["good", "not_an_object", "good"]
    assert [(row.label, type(row.label)) for row in found[::2]] == [(1, int), (1, int)]
