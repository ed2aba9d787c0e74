"""Which columns hold the text, the second text, the label and the id."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from contextmix.datasets.reading.rows import Fields
from contextmix.datasets.reading.tables import HEAD, Table
from contextmix.errors import BadInput, BadOption, suggestion

TEXTS = ("text", "sentence", "sentence1", "premise", "question")
"""The column of texts, where none is named: the first of these that exists."""

PAIRED = {"sentence1": "sentence2", "premise": "hypothesis", "sentence": "question", "question": "context"}
"""Columns beside which a text is half of a pair, so that reading it alone must be meant."""


def resolve(tables: Sequence[Table], asked: Fields) -> Fields:
    """The columns to read, the same in every table.

    Args:
        tables: In order, opened and not yet scanned.
        asked: What the user named.

    Returns:
        The names: as asked; otherwise for the text the first of `TEXTS` that exists and is no second text, or the only
        column there is beside label and id, if it holds texts and columns have types (a header of CSV that is missing
        would be read as one); ``label`` and ``id`` where they exist. A second text is never guessed.

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
        raise BadInput("The data hold no rows: there is nothing to explain.")
    first, fields = filled[0], _resolved(filled[0], asked)
    for table in filled[1:]:
        missing = sorted(set(first.columns) ^ set(table.columns)) if first.declared and table.declared else []
        missing = missing or [name for name in fields.names if name not in table.columns]
        guessed = [name for name, said in (("label", asked.label), ("id", asked.id)) if said is None]
        missing = missing or [name for name in guessed if name in table.columns and name not in first.columns]
        if missing:
            raise BadInput(
                f"{first.name} and {table.name} have mixed schemas: only one of them has {', '.join(missing)}. "
                "Files of one run have the same columns; run them apart, or name fields that both have."
            )
    return fields


def _resolved(table: Table, asked: Fields) -> Fields:
    for name in asked.names:
        if name not in table.columns:
            raise BadOption(f"{table.name} has no column {name!r}.{suggestion(name, table.columns)}{_header(table)}")
    label = asked.label or ("label" if "label" in table.columns else None)
    identity = asked.id or ("id" if "id" in table.columns else None)
    known = (label, identity, asked.query, asked.rationale)
    return Fields(asked.text or _text(table, asked.pair, known), asked.pair, *known)


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
        f"Say so with text_field (--text-field in a terminal).{_header(table)}"
    )


def _holds_texts(table: Table, name: str) -> bool:
    """Whether all values of a column in the first rows are texts."""
    rows = [row for _, row in table.records(0, HEAD, [name]) if isinstance(row, Mapping)]
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, str) for value in values)


def _header(table: Table) -> str:
    """The likeliest reason in CSV and TSV."""
    return "" if table.typed else " If its first line is a row, put a line with the names of the columns above it."
