"""Answers become rows and come back equal in every bit, label and note."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.datasets.questions import assert_same
from tests.results.answers import ROWS, TEXTS, answer, tokens

from contextmix.datasets.reading.rows import Problem, Row
from contextmix.datasets.storage.answer_table import SCHEMA, Answered, as_table, lines_of, maps_named, maps_of, rebuilt
from contextmix.results.answer import Answer
from contextmix.tokens.passages import Passage

SIGNED = answer(np.array(ROWS) - 1, "signed").token_map
HALF = "Lily \ud800 ran."
ANSWERS = {
    "plain": lambda: answer(),
    "in float32": lambda: answer(np.array(ROWS, np.float32)),
    "with signs beside it": lambda: answer(signed=SIGNED),
    "signed itself": lambda: answer(np.array(ROWS) - 1, "signed"),
    "with dependence": lambda: answer(dependence=(0.0, 1.5, 2.0, 0.25, 1e-9)),
    "cut": lambda: answer(passages=(Passage(TEXTS[0], 3, 14, name="a.txt"), Passage(HALF, None))),
    "by spans": lambda: answer(sources_by=[(0, 0, 3), (1, 0, 4)], units_by="token"),
}


def row(number: int) -> Row:
    return Row(number, f"q{number}", f"a.jsonl:{number + 1}", None, "gold")


def there_and_back(found: Answer, tmp_path) -> Answer:
    """By way of a Parquet file and its arrays."""
    pq.write_table(as_table([Answered(row(0), found)]), tmp_path / "a.parquet")
    (stored,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    maps = maps_of(found)
    assert sorted(maps) == sorted(maps_named(stored["rest"]))
    return rebuilt(stored["rest"], maps)


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_comes_back_equal(kind, tmp_path):
    found = ANSWERS[kind]()
    assert_same(there_and_back(found, tmp_path), found)


def test_an_answer_of_broken_text_comes_back_equal(tmp_path):
    """Half a character in the answer itself: the columns show an escape, the answer has it."""
    one = answer()
    labels = tokens()
    broken = labels.text.replace(" Yes.", f" Ye{chr(0xD800)}.")
    fixed = type(labels)(labels.pieces, special=labels.special, spans=labels.spans, text=broken)
    new = fixed.part(slice(len(fixed) - len(one.token_map.query_tokens), None))
    found = answer(token_map=one.token_map.derive(tokens=fixed, query_tokens=new))
    assert_same(there_and_back(found, tmp_path), found)
    assert as_table([Answered(row(0), found)])["answer"].to_pylist() == [" Lily. Ye\\ud800."]


def test_lines_name_the_texts_of_their_own_row():
    found = [answer(), answer(signed=SIGNED, sources_by="word", units_by="token")]
    rows = [Answered(row(0), found[0]), Answered(row(1), problem=Problem("x", "Why.")), Answered(row(2), found[1])]
    table = as_table(rows)
    assert table.schema.equals(SCHEMA)
    assert table["problem"].to_pylist() == [None, "x", None]
    frame = table.to_pandas().set_index("row")
    lines = lines_of(frame[frame.problem.isna()])
    assert lines.index.unique().tolist() == [0, 2]
    for number, one in zip((0, 2), found, strict=True):
        own = lines.loc[number].reset_index(drop=True)
        assert (own.id == f"q{number}").all()
        expected = one.to_pandas()
        assert own[expected.columns].equals(expected)
    assert lines.loc[0].signed.isna().all()
    assert "signed" not in lines_of(frame.loc[[0]])


def test_what_was_found_of_no_row():
    assert as_table([]).schema.equals(SCHEMA)
    assert len(lines_of(as_table([]).to_pandas().set_index("row"))) == 0
