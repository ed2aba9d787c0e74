"""Which columns hold the text, the second text, the label and the id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from contextmix.datasets.reading.rows import Fields
from contextmix.datasets.reading.tables import HEAD, Table
from contextmix.errors import BadInput, BadOption, suggestion

TEXTS = ("text", "sentence", "sentence1", "premise", "question")
"""The column of texts, where none is named: the first of these that exists."""

PAIRED = {"sentence1": "sentence2", "premise": "hypothesis", "sentence": "question", "question": "context"}
"""Columns beside which a text is half of a pair, so that reading it alone must be meant."""


QUESTION, MESSAGES, CONTEXT, ANSWER = "question", "messages", "context", "answer"
"""The columns of what is asked, where none are named."""

Choice = Callable[[Table, Fields], Fields]
"""A table, what the user named → the columns to read."""


def resolve(tables: Sequence[Table], asked: Fields, choose: Choice) -> Fields:
    """The columns to read, the same in every table.

    Args:
        tables: In order, opened and not yet scanned.
        asked: What the user named.
        choose: `of_texts` or `of_questions`.

    Raises:
        BadOption: If a column that was asked for does not exist, or the column of texts is not clear.
        BadInput: If two tables differ in their columns.
    """
    if asked.rationale is not None and asked.pair is not None:
        raise BadOption(
            f"A rationale ({asked.rationale!r}) marks words of one text, and with pair_field={asked.pair!r} there are "
            "two. Leave one of them out."
        )
    if asked.text is not None and asked.text == asked.pair:
        raise BadOption(f"The two texts of a pair cannot both be the column {asked.text!r}. Name two columns.")
    filled = [table for table in tables if table.columns]
    if not filled:
        raise BadInput("The data has no rows, so there is nothing to explain.")
    for name in asked.names:
        if name not in filled[0].columns:
            hint = suggestion(name, filled[0].columns)
            raise BadOption(f"{filled[0].name} has no column {name!r}.{hint}{_header(filled[0])}")
    first, fields = filled[0], choose(filled[0], asked)
    for table in filled[1:]:
        missing = sorted(set(first.columns) ^ set(table.columns)) if first.declared and table.declared else []
        missing = missing or [name for name in fields.names if name not in table.columns]
        guessed = [name for name, said in (("label", asked.label), ("id", asked.id)) if said is None]
        missing = missing or [name for name in guessed if name in table.columns and name not in first.columns]
        if missing:
            raise BadInput(
                f"{first.name} and {table.name} have different columns: only one of them has {', '.join(missing)}. "
                f"All files of a run need the same columns. Run them separately, or choose fields that both have."
            )
    return fields


def of_texts(table: Table, asked: Fields) -> Fields:
    """The columns of texts that are explained.

    Returns:
        The names: as asked; otherwise for the text the first of `TEXTS` that exists and is no second text, or the only
        column there is beside label and id, if it holds texts and columns have types (a header of CSV that is missing
        would be read as one); ``label`` and ``id`` where they exist. A second text is never guessed.
    """
    label, identity = _there(table, asked.label, "label"), _there(table, asked.id, "id")
    known = (label, identity, asked.query, asked.rationale)
    return Fields(asked.text or _text(table, asked.pair, known), asked.pair, *known)


def of_questions(table: Table, asked: Fields) -> Fields:
    """The columns of questions that are answered.

    Returns:
        The names: as asked; otherwise ``question`` and ``messages`` (a chat), of which each row has one, ``context``,
        ``answer``, ``label`` and ``id``, where they exist.
    """
    question, messages = asked.question, None
    if question is None:
        question, messages = _there(table, None, QUESTION), _there(table, None, MESSAGES)
    if question is None and messages is None:
        listed = ", ".join(map(repr, table.columns))
        raise BadOption(
            f"It is not clear which column of {table.name} holds the questions or chats: it has {listed}. Name it "
            f"with question_field (--question-field in a terminal).{_header(table)}"
        )
    return replace(
        asked,
        question=question,
        messages=messages,
        context=_there(table, asked.context, CONTEXT),
        answer=_there(table, asked.answer, ANSWER),
        label=_there(table, asked.label, "label"),
        id=_there(table, asked.id, "id"),
    )


def _there(table: Table, asked: str | None, usual: str) -> str | None:
    """A column that was asked for, or the usual one if it exists."""
    return asked or (usual if usual in table.columns else None)


def _text(table: Table, pair: str | None, known: Collection[str | None]) -> str:
    """The column of texts that nobody named."""
    others = [name for name in table.columns if name != pair and name not in known]
    text = next((name for name in TEXTS if name in others), None)
    if text is not None and pair is None and PAIRED.get(text) in others:
        raise BadOption(
            f"{table.name} has pairs of texts, in {text!r} and {PAIRED[text]!r}. Name both with text_field and "
            f"pair_field (--text-field, --pair-field), or {text!r} alone with text_field."
        )
    if text is not None:
        return text
    if table.typed and len(others) == 1 and _holds_texts(table, others[0]):
        return others[0]
    listed = ", ".join(map(repr, table.columns))
    raise BadOption(
        f"It is not clear which column of {table.name} holds the text: it has {listed}. "
        f"Name it with text_field (--text-field in a terminal).{_header(table)}"
    )


def _holds_texts(table: Table, name: str) -> bool:
    """Whether all values of a column in the first rows are texts."""
    rows = [row for _, row in table.records(0, HEAD, [name]) if isinstance(row, Mapping)]
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, str) for value in values)


def _header(table: Table) -> str:
    """The likeliest reason in CSV and TSV."""
    return "" if table.typed else " If its first line is a row, add a line with the column names above it."
