"""One shard after another: the same work in this process, in several and on a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from contextmix.datasets.reading.rows import Row
from contextmix.datasets.reading.source import Source
from contextmix.datasets.running.memory import Trimmer
from contextmix.datasets.running.task import Found, Maker, Outcome, Waiting
from contextmix.datasets.storage.folder import RunFolder
from contextmix.errors import BadRow, Interrupted

PART_SECONDS = 30.0
"""So much work may be lost when a process is killed."""
PART_BYTES = 256 * 2**20
"""So many bytes of maps are kept in memory at most."""


@dataclass(frozen=True)
class Advance:
    """How far a run has come since it was last said.

    Attributes:
        texts: Rows that are done.
        tokens: Their tokens.
        failed: How many of them have a problem instead of scores.
        earlier: Whether an earlier process did it.
    """

    texts: int
    tokens: int
    failed: int
    earlier: bool = False


Report = Callable[[Advance], None]


Prepared = Sequence[Waiting | Found]
"""The rows of a shard before the model is asked."""


class Work:
    """Measures shards of a source into a folder.

    Args:
        measurer: Model and settings, and what is made of rows.
        source: The rows.
        folder: Where results go.
        strict: Whether a row with a problem ends the run.
        retry: Whether finished shards are opened again for their failed rows.
    """

    def __init__(
        self, measurer: Maker, source: Source, folder: RunFolder, *, strict: bool = False, retry: bool = False
    ) -> None:
        self.measurer, self.source, self.folder = measurer, source, folder
        self.strict, self.retry, self.trim = strict, retry, Trimmer()

    def run(self, shards: Iterable[int], report: Report, stopped: Callable[[], bool]) -> Iterator[int]:
        """Finish shards and say which; the next one is read and tokenised while one is measured.

        Raises:
            Interrupted: If it was told to stop; what was measured is kept.
            BadRow: If a row has a problem and the run is strict.
        """
        with ThreadPoolExecutor(1, "contextmix-reader") as reader:
            waiting = iter(shards)
            number = next(waiting, None)
            reading = None if number is None else reader.submit(self.read, number)
            while number is not None and reading is not None:
                prepared, following = reading.result(), next(waiting, None)
                reading = None if following is None else reader.submit(self.read, following)
                self._finish(number, prepared, report, stopped)
                yield number
                number = following

    def read(self, number: int) -> Prepared:
        """The rows of one shard, tokenised; of a finished one those that failed."""
        rows = list(self.window(number))
        table = self.folder.read(number) if self.retry else None
        if table is not None:
            failed = set(table["row"].filter(table["problem"].is_valid()).to_pylist())
            rows = [row for row in rows if row.number in failed]
        return self.measurer.read(rows)

    def window(self, number: int) -> Iterator[Row]:
        """The rows of one shard."""
        size = self.measurer.settings.shard_size
        return self.source.rows(number * size, min((number + 1) * size, self.source.count))

    def _finish(self, number: int, prepared: Prepared, report: Report, stopped: Callable[[], bool]) -> None:
        shard = _Shard(self, number)
        done = shard.done
        report(Advance(len(done), sum(done.values()), shard.failed, earlier=True))
        refused = [one for one in prepared if not isinstance(one, Waiting) and one.row.number not in done]
        shard.add([Outcome(one, {}) for one in refused], report)
        for batch in self.measurer.batches([one for one in prepared if isinstance(one, Waiting)]):
            if all(one.row.number in done for one in batch):
                continue
            if stopped():
                shard.flush()
                raise Interrupted(f"Stopped before {batch[0].row.where}. Finished results are kept.")
            shard.add(self.measurer.measure([one for one in batch if one.row.number not in done]), report)
            self.trim()
        shard.finish()


class _Shard:
    """What is known of one shard: rows of earlier attempts, rows in parts on the disk, rows in memory."""

    def __init__(self, work: Work, number: int) -> None:
        self.work, self.number, self.folder = work, number, work.folder
        found = self._parts()
        self.earlier = len(found)
        shard = self.folder.read(number) if work.retry else None
        self.kept = _once([*([] if shard is None else [shard]), *found], failures=not work.retry)
        self.tables: list[pa.Table] = []
        self.maps: dict[str, Any] = {}
        self.flushed = time.monotonic()
        self.failed = sum(len(table) - table["problem"].null_count for table in self.kept)
        self.done = {row: tokens for table in self.kept for row, tokens in _lengths(table)}
        """Rows that need no more work, with their tokens."""

    def add(self, outcomes: list[Outcome], report: Report) -> None:
        """Take in what was measured."""
        results = [one.result for one in outcomes]
        failed = [one for one in results if one.problem]
        if failed and self.work.strict:
            self.flush()
            row, reason = failed[0].row, failed[0].problem.reason  # type: ignore[union-attr]
            raise BadRow(
                f"{row.where} (id {row.id!r}) cannot be explained, and this run stops at errors (strict). {reason}"
            )
        if results:
            self.tables.append(self.work.measurer.table(results))
        for one in outcomes:
            self.maps |= one.maps
        report(Advance(len(results), sum(len(one.tokens or ()) for one in results), len(failed)))
        size = sum(values.nbytes for values in self.maps.values())
        if time.monotonic() - self.flushed > PART_SECONDS or size > PART_BYTES:
            self.flush()

    def flush(self) -> None:
        """Put what is in memory on the disk: maps first, so that no row is there without its own."""
        if self.tables:
            self._write_maps()
            self.folder.write_part(self.number, self.tables)
            self.tables = []
        self.flushed = time.monotonic()

    def finish(self) -> None:
        """Write the shard."""
        self._write_maps()
        self.folder.write(self.number, [*self.kept, *self._parts()[self.earlier :], *self.tables])

    def _parts(self) -> list[pa.Table]:
        """What is on the disk of this shard, of the columns that it has."""
        wanted = self.work.measurer.schema
        return [table for table in self.folder.parts(self.number) if table.schema.equals(wanted)]

    def _write_maps(self) -> None:
        if self.maps:
            self.folder.write_maps(self.number, self.maps)
            self.maps = {}


def _once(tables: Iterable[pa.Table], *, failures: bool) -> list[pa.Table]:
    """Each row only where it stands first, with or without those that failed."""
    found: list[pa.Table] = []
    seen = pa.array([], pa.int64())
    for table in tables:
        kept = table if failures else table.filter(table["problem"].is_null())
        kept = kept.filter(pa.compute.invert(pa.compute.is_in(kept["row"], seen)))
        found.append(kept)
        seen = pa.concat_arrays([seen, *kept["row"].chunks])
    return found


def _lengths(table: pa.Table) -> Iterator[tuple[int, int]]:
    """Row and number of tokens, of each row of a table."""
    lengths = pa.compute.list_value_length(table["tokens"]).fill_null(0)
    yield from zip(table["row"].to_pylist(), lengths.to_pylist(), strict=True)
