"""One file as a table: looked at, scanned once, then read from any row on.

A scan reads every byte once, for the hash, and remembers where each 256th row begins. So a window of rows costs a seek
and at most 255 rows that are skipped, and memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contextmix.datasets.formats import FORMATS, Format, parsed
from contextmix.datasets.rows import Found, Problem
from contextmix.datasets.tables import HEAD, arrow_rows, named
from contextmix.errors import BadFile

STRIDE = 256
_SIGNS = {  # how files begin whose name promises lines of text
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstandard",
    b"PAR1": "Parquet",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was scanned.

    Attributes:
        path: Absolute, so that a process in another folder finds it.
        shown: What messages call it.
        size: In bytes.
        changed: The time of the last change in nanoseconds.
        sha256: Of all bytes; empty before the scan.
    """

    path: Path
    shown: str
    size: int
    changed: int
    sha256: str = ""

    @classmethod
    def of(cls, path: Path, shown: str) -> Stamp:
        """Read size and time; `BadFile` where there is no readable file."""
        with readable(shown):
            status = path.stat()
        return cls(path.resolve(), shown, status.st_size, status.st_mtime_ns)

    def refuse_changed(self) -> None:
        """`BadFile` if the file is another one by now."""
        now = Stamp.of(self.path, self.shown)
        if (now.size, now.changed) != (self.size, self.changed):
            raise BadFile(
                f"{self.shown} changed after it was scanned ({self.size} bytes then, {now.size} now), so its rows are "
                "others than those that the run began with. Restore the file, or start a new run."
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this file from another one."""
        return {"name": self.shown, "bytes": self.size, "sha256": self.sha256}


class Hashing(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, and hash what went into it."""
        size = self._file.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:size])
        return size

    def close(self) -> None:
        """Close the file as well."""
        self._file.close()
        super().close()

    @property
    def sha256(self) -> str:
        """Of all bytes read so far."""
        return self._hash.hexdigest()


@contextlib.contextmanager
def readable(shown: str) -> Iterator[None]:
    """Say as `BadFile` why a file cannot be read."""
    try:
        yield
    except FileNotFoundError as reason:
        raise BadFile(f"There is no file {shown}. Check the name and the folder that you are in.") from reason
    except (OSError, pa.ArrowException) as reason:
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason).rstrip(".")
        raise BadFile(f"Cannot read {shown}: {said}. Name a file that is whole and that you may read.") from reason


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

    def _fields(self) -> tuple[str, ...]:
        """The fields of the first rows that are objects, in the order in which they come up."""
        found = [row for _, row in self.records(0, HEAD)]
        objects = [row for row in found if isinstance(row, Mapping)]
        if found and not objects:
            first = next((row.reason for row in found if isinstance(row, Problem)), "")
            raise BadFile(
                f"{self.name} holds no JSON object in its first {len(found)} lines, and a row is one object in one line. "
                f"{first} (For a list or an indented object: json.dumps each object and write it to a line of its own.)"
            )
        return tuple(dict.fromkeys(name for row in objects for name in row))


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file; see `Table` for what all tables offer."""

    stamp: Stamp
    columns: tuple[str, ...]
    groups: tuple[int, ...]  # rows in each row group

    declared = True
    typed = True

    @classmethod
    def opened(cls, path: Path, shown: str) -> ParquetFile:
        """Read the metadata."""
        stamp = Stamp.of(path, shown)
        with readable(shown), pq.ParquetFile(path) as file:
            found = file.metadata
            groups = tuple(found.row_group(index).num_rows for index in range(found.num_row_groups))
            return cls(stamp, named(file.schema_arrow.names, shown), groups)

    @property
    def name(self) -> str:
        """What stands before the row number."""
        return self.stamp.shown

    @property
    def count(self) -> int:
        """Rows."""
        return sum(self.groups)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells its content from another."""
        return self.stamp.identity

    def scanned(self, columns: Sequence[str] = ()) -> ParquetFile:
        """The same with its hash."""
        with readable(self.name), self.stamp.path.open("rb") as file:
            stamp = replace(self.stamp, sha256=hashlib.file_digest(file, "sha256").hexdigest())
        stamp.refuse_changed()
        return replace(self, stamp=stamp)

    def records(self, start: int, stop: int, columns: Sequence[str] = ()) -> Iterator[Found]:
        """Rows start to stop (excluded) of these columns, decoded from the start of the row group on."""
        self.stamp.refuse_changed()
        ends = np.cumsum(self.groups)
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(ends, stop, side="left"))
        at = int(ends[first - 1]) if first else 0
        with readable(self.name), pq.ParquetFile(self.stamp.path, buffer_size=2**16, pre_buffer=False) as file:
            groups = list(range(first, min(last + 1, len(self.groups))))
            for batch in file.iter_batches(batch_size=1024, row_groups=groups, columns=list(columns) or None):
                low, high = max(start - at, 0), min(stop - at, batch.num_rows)
                if low < high:
                    for index, row in enumerate(arrow_rows(batch.slice(low, high - low)), at + low):
                        yield f"{self.name}:{index}", row
                at += batch.num_rows
                if at >= stop:
                    return


def _first_byte(file: BinaryIO, shown: str) -> int:
    """Where the text begins: after a byte order mark of UTF-8."""
    head = file.read(2**16)
    signs = [said for sign, said in _SIGNS.items() if head.startswith(sign)]
    if not signs and head.count(b"\0") * 4 > len(head):
        signs = ["UTF-16 or no text at all"]
    if not signs and b"\r" in head and b"\n" not in head:
        signs = ["written with carriage returns as line ends"]
    if signs:
        raise BadFile(f"{shown} is {signs[0]}. Write it as plain UTF-8 text with one row per line.")
    return 3 if head.startswith(b"\xef\xbb\xbf") else 0


def _header(content: bytes | Problem, form: Format, shown: str) -> tuple[str, ...]:
    text = "" if isinstance(content, Problem) else content.decode("utf-8", "replace").rstrip("\r\n")
    if isinstance(content, Problem) or not text.strip():
        raise BadFile(f"{shown} has no header. Write the names of its columns, as text and label, into its first line.")
    assert form.cells is not None
    return named(form.cells(text), shown)
