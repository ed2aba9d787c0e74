"""One row of a data set: its text, label and id, or the problem for which it cannot be explained."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np

from contextmix.datasets.reading.rationales import Spans, spans_of

LARGEST_TEXT = 2**20
"""Characters: some 200,000 tokens, more than any attention map of them would fit into memory. A tokenizer takes about a
thousand times the memory of what it reads, so longer ones are refused before it sees them, also where texts are cut."""

MISSING = "Fill it in, or leave the row out."
_WHOLE_NUMBER = re.compile(r"-?[1-9][0-9]{0,17}|0")  # what int() and back leaves as it was, and 64 bits hold


@dataclass(frozen=True)
class Problem:
    """Why a row cannot be explained.

    Attributes:
        kind: A short word to count by. Of a whole row: ``empty_line``, ``invalid_utf8``, ``broken_json``,
            ``not_an_object``, ``broken_csv``, ``open_quote``, ``wrong_columns``, ``oversized_row``. Of one field:
            ``missing_field``, ``missing_text``, ``wrong_type``, ``empty_text``, ``oversized_text``,
            ``lone_surrogate``, ``wrong_label``,
            ``missing_id``, ``wrong_id``, ``duplicate_id``,
            ``missing_query``, ``wrong_query``, ``wrong_rationale``; of questions also
            ``missing_question``, ``two_questions``, ``wrong_chat``, ``missing_context``, ``empty_context``,
            ``empty_answer``.
        reason: What was found and what to do.
    """

    kind: str
    reason: str


Found = tuple[str, Mapping[str, object] | Problem]
"""What a source finds: where the row stands, and its values by column or what is wrong with all of it."""


@dataclass(frozen=True)
class Fields:
    """The columns that are read, by name; None where there is none."""

    text: str | None = None
    pair: str | None = None
    label: str | None = None
    id: str | None = None
    query: str | None = None
    rationale: str | None = None
    question: str | None = None
    messages: str | None = None
    context: str | None = None
    answer: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        return tuple(dict.fromkeys(name for name in astuple(self) if name is not None))


Message = Mapping[str, Any]
"""One of a chat."""


@dataclass(frozen=True)
class Asked:
    """What a row asks, as `explain_answer` takes it.

    Attributes:
        question: A text, or a chat.
        context: Texts, spans of the question, or None.
        answer: The text to explain; None where the model is to write it.
    """

    question: str | list[Message]
    context: str | list[Any] | None
    answer: str | None


@dataclass(frozen=True)
class Row:
    """A row as it was read.

    Attributes:
        number: Its position in the whole data set, from 0.
        id: Its id field as text; its number where there is no such field or the field cannot be read.
        where: ``train.tsv:17`` is line 17 of a file of lines; ``data.parquet:17`` is row 17, from 0; ``item 17`` is
            the same in memory.
        text: A text or a pair of texts; None when there is a problem, or the row asks something.
        label: As given; None where there is none. True and false are 1 and 0, and digits are a number in files that
            know only texts.
        problem: Why it cannot be explained, or None.
        query: The token whose row is kept, by text or position; None where there is no such field.
        rationale: What people marked in the text, as [start, end) of characters; None where nobody was asked.
        asked: The question and what belongs to it; None where the row holds none.
    """

    number: int
    id: str
    where: str
    text: str | tuple[str, str] | None
    label: str | int | None
    problem: Problem | None = None
    query: str | int | None = None
    rationale: Spans | None = None
    asked: Asked | None = field(default=None, repr=False)


def judged(
    number: int,
    where: str,
    found: Mapping[str, object] | Problem,
    fields: Fields,
    *,
    typed: bool = True,
    first: int | None = None,
) -> Row:
    """A row with every check that needs no tokenizer. A list of words is a text: they are joined by blanks.

    Args:
        number: Its position in the data set.
        where: The place that a message names.
        found: The values by column, or what is wrong with the whole row.
        fields: The columns to read.
        typed: Whether the source tells numbers from texts, which CSV and TSV do not.
        first: The earlier row that has the same id.

    Returns:
        The row; of several problems it names the first.

    Example:
        >>> judged(3, "a.tsv:5", {"text": "Good.", "label": "1"}, Fields("text", label="label"), typed=False)
        Row(number=3, id='3', where='a.tsv:5', text='Good.', label=1, problem=None, query=None, rationale=None)
        >>> judged(4, "a.tsv:6", {"text": " "}, Fields("text")).problem.kind
        'empty_text'
        >>> judged(5, "a.jsonl:7", {"tokens": ["So", "good", "."]}, Fields("tokens")).text
        'So good .'
    """
    if isinstance(found, Problem):
        return Row(number, str(number), where, None, None, found)
    text, pair = _text(found, fields.text), _text(found, fields.pair)
    label, name = label_of(found, fields.label, typed), identity(found, fields.id)
    query = _query(found, fields.query, typed)
    marks = None if fields.rationale is None or not isinstance(text, str) else _rationale(found, fields.rationale, text)
    if first is not None:
        problem: Problem | None = repeated(first, name)
    else:
        problem = next((value for value in (text, pair, label, name, query, marks) if isinstance(value, Problem)), None)
    known = str(number) if name is None or isinstance(name, Problem) else name
    said = None if isinstance(label, Problem) else label
    asked = None if isinstance(query, Problem) else query
    if problem is not None or isinstance(text, Problem) or isinstance(pair, Problem) or text is None:
        return Row(number, known, where, None, said, problem)
    spans = None if isinstance(marks, Problem) else marks
    return Row(number, known, where, text if pair is None else (text, pair), said, query=asked, rationale=spans)


def repeated(first: int, name: object) -> Problem:
    """What is wrong with a row that comes too late."""
    said = f"Row {first} (counted from 0) has the id {short(name)} already. Give every row its own id."
    return Problem("duplicate_id", said)


def identity(found: Mapping[str, object], field: str | None) -> str | Problem | None:
    """The id of a row as text, what is wrong with it, or None where no field is asked for."""
    if field is None:
        return None
    value = plain_value(found.get(field))
    if value is None or value == "":
        return Problem("missing_id", f"The row has no id in {field!r}. Give every row its own id.")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return Problem("wrong_id", f"The id {field!r} is {type_of(value)}. An id is a text or a whole number.")
    if isinstance(value, str) and _has_lone_surrogate(value):
        return Problem("wrong_id", f"The id {field!r} holds half a character ({short(value)}). Write another id.")
    return str(value)


def _text(found: Mapping[str, object], field: str | None) -> str | Problem | None:
    return None if field is None else text_of(found, field)


def text_of(found: Mapping[str, object], field: str, *, words: bool = True) -> str | Problem:
    """The text of a field, or what is wrong with it.

    Args:
        found: The values by column.
        field: The column.
        words: Whether a list of words is a text.
    """
    if field not in found:
        return Problem("missing_field", f"The row has no field {field!r}. {MISSING}")
    value = _joined(plain_value(found[field])) if words else plain_value(found[field])
    if value is None:
        return Problem("missing_text", f"The field {field!r} is null instead of a text. {MISSING}")
    if not isinstance(value, str):
        said = f"The field {field!r} is {type_of(value)}, {short(value)}. Write a text into it."
        return Problem("wrong_type", said)
    if len(value) > LARGEST_TEXT:
        said = f"The field {field!r} holds {len(value):,} characters, and at most {LARGEST_TEXT:,} are tokenised."
        return Problem("oversized_text", f"{said} Look for a missing line end, or split the text.")
    if not value.strip():
        return Problem("empty_text", f"The field {field!r} holds only white space. {MISSING}")
    if _has_lone_surrogate(value):
        said = f"The field {field!r} holds half a character (a lone surrogate), and no tokenizer reads it. Repair it."
        return Problem("lone_surrogate", said)
    return value


def _joined(value: object) -> object:
    """A list of words as one text with a blank between them, as HateXplain's authors read their data."""
    words = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return " ".join(words)
    return words


def label_of(found: Mapping[str, object], field: str | None, typed: bool) -> str | int | Problem | None:
    """The label of a row, or what is wrong with it."""
    if field is None:
        return None
    value = plain_value(found.get(field))
    if isinstance(value, float) and value.is_integer():  # a whole number after pandas met an empty cell in its column
        value = int(value)
    if isinstance(value, str) and not _has_lone_surrogate(value):
        if typed:
            return value
        return int(value) if _WHOLE_NUMBER.fullmatch(value) else value or None
    if value is None or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return None if value is None else int(value)
    said = f"The label {field!r} is {type_of(value)}, {short(value)}. A label is a name or a whole number, or null."
    return Problem("wrong_label", said)


def _query(found: Mapping[str, object], field: str | None, typed: bool) -> str | int | Problem | None:
    """The token whose row is kept: a position or a piece, read as labels are."""
    if field is None:
        return None
    value = label_of(found, field, typed)
    if value is None or value == "":
        return Problem("missing_query", f"The row names no token in {field!r}. Give its position or its text.")
    if isinstance(value, Problem):
        return Problem("wrong_query", f"The query {field!r} is {short(found.get(field))}. Give a position or a text.")
    return value


def _rationale(found: Mapping[str, object], field: str, text: str) -> Spans | Problem | None:
    try:
        return spans_of(plain_value(found.get(field)), text)
    except ValueError as reason:
        return Problem("wrong_rationale", f"The rationale {field!r} {reason}")


def plain_value(value: object) -> object:
    """NumPy's numbers and arrays as Python's own; None for NaN, which is how tables say that a cell is empty."""
    value = value.item() if isinstance(value, np.generic) else value
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _has_lone_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def type_of(value: object) -> str:
    """The type of a value, for a message."""
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"of the type {type(value).__name__}")


def short(value: object) -> str:
    """A value in a message, cut where it is long."""
    shown = ascii(value)
    return shown if len(shown) <= 40 else shown[:39] + "…"
