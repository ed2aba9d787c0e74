"""Questions, chats, contexts and answers are read from every kind of data, and refused row by row."""

import json

import pandas as pd
import pytest
from tests.datasets.questions import BAD, CHAT, GOOD, ROWS, TEXTS

from contextmix.datasets.reading.rows import Asked
from contextmix.datasets.reading.source import open_questions
from contextmix.errors import BadOption

LATER = ("sources_do_not_fit", "bad_input")  # only the model says so


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["memory", "jsonl"])
def test_rows_are_read_and_bad_ones_named(tmp_path, kind):
    source = open_questions(ROWS if kind == "memory" else write(tmp_path / "q.jsonl", ROWS))
    found = list(source.rows())
    for row, given in zip(found[: len(GOOD)], GOOD, strict=True):
        assert (row.id, row.problem) == (given["id"], None)
        assert row.asked == Asked(given["question"], given["context"], given.get("answer"))
    assert found[0].label == "gold"
    kinds = [None if row.problem is None else row.problem.kind for row in found[len(GOOD) :]]
    assert kinds == [None if kind in LATER else kind for _, kind in BAD]
    assert all(row.asked is None and row.text is None for row in found if row.problem)


def test_a_chat_needs_no_context(tmp_path):
    path = write(tmp_path / "q.jsonl", [{"question": "Who?", "context": "Tom ran."}, {"messages": CHAT}])
    text, chat = open_questions(path).rows()
    assert text.asked == Asked("Who?", "Tom ran.", None)
    assert chat.asked == Asked(CHAT, None, None)
    named = open_questions(write(tmp_path / "c.jsonl", [{"prompt": CHAT}]), question_field="prompt")
    assert [row.asked for row in named.rows()] == [Asked(CHAT, None, None)]


def test_without_a_column_of_contexts_the_question_is_its_own_source():
    (row,) = open_questions([{"question": "Lily had a ball. Who?"}]).rows()
    assert row.asked == Asked("Lily had a ball. Who?", None, None)


@pytest.mark.parametrize("kind", ["frame", "parquet"])
def test_lists_in_tables(tmp_path, kind):
    """Parquet gives every message all columns, and a list that is missing is null."""
    chat = [{**CHAT[0], "name": "Tom"}, {**CHAT[1], "name": None}]
    frame = pd.DataFrame(
        {
            "question": ["Who?", None, "Who else?"],
            "messages": [None, chat, None],
            "context": [TEXTS, None, TEXTS[:1]],
            "answer": [None, None, "Lily."],
        }
    )
    frame.to_parquet(tmp_path / "q.parquet")
    found = [row.asked for row in open_questions(frame if kind == "frame" else tmp_path / "q.parquet").rows()]
    kept = [{**CHAT[0], "name": "Tom"}, CHAT[1]]
    assert found == [Asked("Who?", TEXTS, None), Asked(kept, None, None), Asked("Who else?", TEXTS[:1], "Lily.")]


def test_in_csv_a_context_is_one_text_and_an_empty_answer_is_none(tmp_path):
    (tmp_path / "q.csv").write_text('question,context,answer\nWho?,"Tom, ran.",\nWho?,Tom ran.,Tom.\nWho?,,Tom.\n')
    one, two, three = open_questions(tmp_path / "q.csv").rows()
    assert one.asked == Asked("Who?", "Tom, ran.", None)
    assert two.asked == Asked("Who?", "Tom ran.", "Tom.")
    assert three.problem.kind == "missing_context"


def test_columns_by_other_names():
    rows = [{"q": "Who?", "docs": TEXTS, "reply": "Lily.", "gold": 1, "name": "x", "answer": "of nobody"}]
    names = {"question_field": "q", "context_field": "docs", "answer_field": "reply", "id_field": "name"}
    (row,) = open_questions(rows, **names, label_field="gold").rows()
    assert (row.asked, row.id, row.label) == (Asked("Who?", TEXTS, "Lily."), "x", 1)


@pytest.mark.parametrize(
    ("rows", "names", "said"),
    [
        ([{"text": "Who?"}], {}, r"not clear which column of The sequence holds the questions or chats: it has 'text'"),
        ([{"question": "Who?"}], {"context_field": "contxt"}, "no column 'contxt'"),
    ],
)
def test_columns_that_are_not_there(rows, names, said):
    with pytest.raises(BadOption, match=said):
        open_questions(rows, **names)


def test_too_many_characters():
    (row, _) = open_questions(
        [{"question": "Who?", "context": ["a " * 2**18] * 3}, {"question": "a", "context": "b"}]
    ).rows()
    assert row.problem.kind == "oversized_text"


def test_other_contexts_are_other_data():
    """A run of other data is refused by this."""
    one, other = (open_questions([{"question": "Who?", "context": [text]}]).fingerprint for text in TEXTS)
    assert one["sha256"] != other["sha256"]
