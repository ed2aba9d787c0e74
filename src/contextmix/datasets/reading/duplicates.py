"""Rows whose id an earlier row has: found with 24 bytes per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any

import numpy as np

from contextmix.datasets.reading.rows import Fields, Problem, identity
from contextmix.datasets.reading.tables import Table

_DIGEST = np.dtype([("high", np.uint64), ("low", np.uint64)])
_NO_ID = bytes(_DIGEST.itemsize)

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Duplicates:
    """Rows that come too late, in order, and for each the first row that has its id."""

    later: Numbers
    first: Numbers

    @classmethod
    def none(cls) -> Duplicates:
        """Every id stands once."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def within(cls, tables: Sequence[Table], fields: Fields) -> Duplicates:
        """Read the ids of all rows and compare their digests of 128 bits."""
        if fields.id is None:
            return cls.none()
        digests = bytearray()
        for _, found in chain.from_iterable(table.records(0, table.count, (fields.id,)) for table in tables):
            name = None if isinstance(found, Problem) else identity(found, fields.id)
            digests += blake2b(name.encode(), digest_size=16).digest() if isinstance(name, str) else _NO_ID
        return cls.of(np.frombuffer(digests, _DIGEST))

    @classmethod
    def of(cls, digests: np.ndarray[Any, Any]) -> Duplicates:
        """Sort the digests; where neighbours are equal, all but the first are late. A digest of zeros is no id.

        Halves are sorted first, with 8 bytes more per row: most often none is there twice, and that is all.
        """
        halves = np.sort(digests["high"])
        repeated = np.unique(halves[1:][halves[1:] == halves[:-1]])
        if not len(repeated):
            return cls.none()
        suspects = np.flatnonzero(np.isin(digests["high"], repeated) & (digests != np.zeros((), _DIGEST)))
        chosen = digests[suspects]
        order = np.lexsort((chosen["low"], chosen["high"]))  # stable: equal ones stay in the order of their rows
        rows, ordered = suspects[order], chosen[order]
        late = np.zeros(len(rows), dtype=bool)
        late[1:] = ordered[1:] == ordered[:-1]
        first = rows[np.maximum.accumulate(np.where(late, 0, np.arange(len(rows))))]
        by_row = np.argsort(rows[late])
        return cls(rows[late][by_row], first[late][by_row])

    def first_of(self, number: int) -> int | None:
        """The earlier row with the same id, or None."""
        at = int(np.searchsorted(self.later, number))
        return int(self.first[at]) if at < len(self.later) and self.later[at] == number else None
