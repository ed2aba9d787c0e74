"""A Parquet file as a table.

Rows are decoded from the beginning of their row group on. Where many processes read windows of one file, row groups of
some ten thousand rows serve better than the million that pandas writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from contextmix.datasets.reading.files import Stamp, readable
from contextmix.datasets.reading.rows import Found
from contextmix.datasets.reading.tables import arrow_rows, named


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
            for batch in file.iter_batches(batch_size=4096, row_groups=groups, columns=list(columns) or None):
                low, high = max(start - at, 0), min(stop - at, batch.num_rows)
                if low < high:
                    for index, row in enumerate(arrow_rows(batch.slice(low, high - low)), at + low):
                        yield f"{self.name}:{index}", row
                at += batch.num_rows
                if at >= stop:
                    return
