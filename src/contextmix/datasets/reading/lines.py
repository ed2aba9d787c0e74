"""A file of lines as a table: looked at, scanned once, then read from any row on.

A scan reads every byte once, for the hash, and remembers where each 256th row begins. So a window of rows costs a seek
and at most 255 rows that are skipped, and memory does not grow with the file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from contextmix.datasets.reading.files import Hashing, Stamp, readable
from contextmix.datasets.reading.formats import FORMATS, Format, parsed
from contextmix.datasets.reading.rows import Found, Problem
from contextmix.datasets.reading.tables import HEAD, named
from contextmix.errors import BadFile

STRIDE = 256

_SIGNS = {  # how files begin whose name promises lines of text
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstandard",
    b"PAR1\x15": "Parquet",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


@dataclass(frozen=True)
class LineFile:
    """A file of JSONL, CSV, TSV or plain text; see `Table` for what all tables offer."""

    stamp: Stamp
    ending: str
    columns: tuple[str, ...]
    begin: tuple[int, int]  # of the first row: offset in bytes, line
    count: int = 0
    places: np.ndarray[Any, np.dtype[np.int64]] = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @classmethod
    def opened(cls, path: Path, shown: str) -> LineFile:
        """Look at the beginning: what it is, and which columns it has."""
        ending, stamp = path.suffix.lower(), Stamp.of(path, shown)
        with readable(shown), path.open("rb") as file:
            begin = _first_byte(file, shown)
            table = cls(stamp, ending, ("text",), (begin, 1))
            if not table.form.header:
                return table if table.form.cells else replace(table, columns=table._fields())
            file.seek(begin)
            header = next(table.form.split(file, 1), (0, 1, 1, b""))
        columns = _header(header[3], table.form, shown)
        return replace(table, columns=columns, begin=(begin + header[0], header[2] + 1))

    @property
    def form(self) -> Format:
        """How its bytes are read."""
        return FORMATS[self.ending]

    @property
    def name(self) -> str:
        """What stands before the line number."""
        return self.stamp.shown

    @property
    def declared(self) -> bool:
        """Whether the columns are all there are, rather than those of the first rows."""
        return self.form.cells is not None

    @property
    def typed(self) -> bool:
        """Whether it tells numbers from texts."""
        return not self.declared

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells its content from another."""
        return self.stamp.identity

    def scanned(self, columns: Sequence[str] = ()) -> LineFile:
        """The same with its hash, its number of rows and the places where they begin."""
        offset, rows, filled = self.begin[0], 0, 0
        places = []
        with readable(self.name), Hashing(self.stamp.path) as hashed:
            file = io.BufferedReader(hashed, 2**20)
            file.read(offset)
            for size, line, _, content in self.form.split(file, self.begin[1]):
                if rows % STRIDE == 0:
                    places.append((offset, line))
                offset += size
                rows += 1
                if content not in (b"\n", b"\r\n"):
                    filled = rows  # blank lines at the very end are no rows
            stamp = replace(self.stamp, sha256=hashed.sha256)
        stamp.refuse_changed()
        return replace(self, stamp=stamp, count=filled, places=np.array(places, np.int64).reshape(-1, 2))

    def records(self, start: int, stop: int, columns: Sequence[str] = ()) -> Iterator[Found]:
        """Rows start to stop (excluded); a line is read whole, whatever the columns."""
        self.stamp.refuse_changed()
        nearest = start // STRIDE
        offset, line = self.places[nearest].tolist() if nearest < len(self.places) else self.begin
        skipped = start - nearest * STRIDE if nearest < len(self.places) else start
        with readable(self.name), self.stamp.path.open("rb") as file:
            file.seek(offset)
            rows = self.form.split(file, line)
            for raw in islice(rows, skipped, skipped + stop - start):
                yield f"{self.name}:{raw[1]}", parsed(raw, self.form, self.columns)

    def _goes_on(self) -> bool:
        """Whether the first line opens a list of rows or an object that it does not close."""
        with readable(self.name), self.stamp.path.open("rb") as file:
            file.seek(self.begin[0])
            raw = next(self.form.split(file, 1), (0, 1, 1, b""))
        row, text = parsed(raw, self.form, ()), raw[3].strip() if isinstance(raw[3], bytes) else b""
        return isinstance(row, Problem) and row.kind == "broken_json" and (text[:1] == b"[" or text == b"{")

    def _fields(self) -> tuple[str, ...]:
        """The fields of the first rows that are objects, in the order in which they come up."""
        found = [row for _, row in self.records(0, HEAD)]
        objects = [row for row in found if isinstance(row, Mapping)]
        if self._goes_on() or (found and not objects):
            said = "begins with a list or an object that goes on in the next line" if self._goes_on() else ""
            raise BadFile(
                f"{self.name} {said or f'holds no JSON object in its first {len(found)} lines'}. A row is one object "
                "in one line: write each object of a list, or one that is indented, to a line of its own."
            )
        return tuple(dict.fromkeys(name for row in objects for name in row))


def _first_byte(file: BinaryIO, shown: str) -> int:
    """Where the text begins: after a byte order mark of UTF-8."""
    head = file.read(2**16)
    signs = [said for sign, said in _SIGNS.items() if head.startswith(sign)]
    if not signs and head.count(b"\0") * 4 > len(head):
        signs = ["UTF-16 or not text"]
    if not signs and b"\r" in head and b"\n" not in head:
        signs = ["written with carriage returns as line ends"]
    if signs:
        raise BadFile(f"{shown} is {signs[0]}. Write it as plain UTF-8 text with one row per line.")
    return 3 if head.startswith(b"\xef\xbb\xbf") else 0


def _header(content: bytes | Problem, form: Format, shown: str) -> tuple[str, ...]:
    text = "" if isinstance(content, Problem) else content.decode("utf-8", "replace").rstrip("\r\n")
    if isinstance(content, Problem) or not text.strip():
        raise BadFile(f"{shown} has no header. Put the column names, e.g. text and label, in its first line.")
    assert form.cells is not None
    return named(form.cells(text), shown)
