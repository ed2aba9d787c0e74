"""What a source is made of: tables in files or in memory, all read in the same way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from contextmix.datasets.reading.rows import Found, Problem
from contextmix.errors import BadFile

HEAD = 1000
"""Rows that are looked at to learn the columns, where nothing declares them, and which of them hold texts."""

WINDOW = 1024
"""Rows of a table in memory that are turned into Python values at a time."""

Values = list[dict[str, object] | Problem]


class Table(Protocol):
    """Rows with columns."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names; empty where there are no rows to learn them from."""

    @property
    def declared(self) -> bool:
        """Whether every row must have exactly these columns."""

    @property
    def typed(self) -> bool:
        """Whether it tells numbers from texts."""

    @property
    def count(self) -> int:
        """Rows; known after the scan."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells its content from another, as JSON; known after the scan."""

    def scanned(self, columns: Sequence[str] = ()) -> Table:
        """The same, with what only a look at all of it tells."""

    def records(self, start: int, stop: int, columns: Sequence[str] = ()) -> Iterator[Found]:
        """Rows start to stop (excluded), with at least these columns."""


@dataclass(frozen=True)
class Held:
    """A table that is in memory, or that a library maps into it.

    Attributes:
        data: What holds the rows.
        window: Reads rows start to stop (excluded) of some columns from it.
        name: What messages call it.
        place: What stands before the number of a row.
        origin: What identifies it, apart from its content.
        columns: Their names.
        count: Rows.
        declared: Whether every row must have exactly these columns.
        sha256: Of the columns that are read; empty before the scan.
    """

    data: Any
    window: Callable[[Any, int, int, Sequence[str]], Values]
    name: str
    place: str
    origin: Mapping[str, Any]
    columns: tuple[str, ...]
    count: int
    declared: bool = True
    sha256: str = ""

    typed = True

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells its content from another."""
        return {**self.origin, "rows": self.count, "sha256": self.sha256}

    def scanned(self, columns: Sequence[str] = ()) -> Held:
        """The same with the hash of these columns."""
        content = hashlib.sha256()
        for _, row in self.records(0, self.count, columns):
            held = row.kind if isinstance(row, Problem) else [row.get(name) for name in columns]
            content.update(json.dumps(held, default=_hashable, skipkeys=True).encode() + b"\n")
        return replace(self, sha256=content.hexdigest())

    def records(self, start: int, stop: int, columns: Sequence[str] = ()) -> Iterator[Found]:
        """Rows start to stop (excluded) of these columns, a window at a time."""
        for begin in range(start, min(stop, self.count), WINDOW):
            rows = self.window(self.data, begin, min(begin + WINDOW, stop, self.count), columns or self.columns)
            for index, row in enumerate(rows, begin):
                yield f"{self.place}{index}", row


def frame_table(frame: pd.DataFrame) -> Held:
    """A table of pandas; its index is not read."""
    texts = [name for name in frame.columns if isinstance(name, str)]
    columns, kind = named(texts, "The DataFrame"), "pandas.DataFrame"
    return Held(frame, _of_frame, "The DataFrame", "item ", {"memory": kind}, columns, len(frame))


def items_table(items: Sequence[Any]) -> Held:
    """A sequence of dictionaries, each of which may lack a field."""
    head = [item for item in items[:HEAD] if isinstance(item, Mapping)]
    columns = tuple(dict.fromkeys(name for item in head for name in item if isinstance(name, str)))
    return Held(items, _of_items, "The sequence", "item ", {"memory": "dict"}, columns, len(items), declared=False)


def arrow_rows(batch: pa.RecordBatch | pa.Table) -> Values:
    """Rows as Python values; bytes that are no UTF-8 spoil their row only."""
    try:
        found: Values = batch.to_pylist()
        return found
    except UnicodeDecodeError:
        if batch.num_rows > 1:
            return [row for index in range(batch.num_rows) for row in arrow_rows(batch.slice(index, 1))]
    return [Problem("invalid_utf8", "A text in the row is not UTF-8. Save the column again as UTF-8.")]


def named(columns: Sequence[str], shown: str) -> tuple[str, ...]:
    """Refuse names that are empty or stand twice: which column is meant would be a guess."""
    if all(columns) and len(set(columns)) == len(columns):
        return tuple(columns)
    listed = ", ".join(f"{name!r:.60}" for name in columns)
    raise BadFile(f"{shown} has unnamed or duplicate columns: {listed}. Give each column its own name.")


def _of_frame(frame: pd.DataFrame, start: int, stop: int, columns: Sequence[str]) -> Values:
    part = frame.iloc[start:stop]
    cells = [part[name].astype(object).where(part[name].notna(), None).tolist() for name in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]


def _of_items(items: Sequence[Any], start: int, stop: int, columns: Sequence[str]) -> Values:
    return [_item(item) for item in items[start:stop]]


def _item(item: object) -> dict[str, object] | Problem:
    if isinstance(item, Mapping):
        return dict(item)
    said = f"The item is of the type {type(item).__name__}. Give a dictionary with named fields."
    return Problem("not_an_object", said)


def _hashable(value: object) -> object:
    """What JSON has no word for: arrays as lists; of the rest only that it is there counts, as it cannot be read."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else type(value).__name__
