"""What a run left behind, whatever it was asked for: rows and files that are looked at before they are believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from contextmix.datasets.storage.answer_settings import AnswerSettings
from contextmix.datasets.storage.answer_table import SHOWN
from contextmix.datasets.storage.checksums import Reader, Shape, checksums_of, repair
from contextmix.datasets.storage.folder import RunFolder, is_utf8
from contextmix.datasets.storage.manifests import settings_of
from contextmix.errors import BadFile, BadInput, ContextMixError, UnknownName, UnknownPosition, refuse_entries
from contextmix.maths.shapes import cut
from contextmix.maths.whole import index_of

FEW = 64
"""Rows that are in memory at a time while all are read one after another."""


class Stored:
    """The rows of a run, finished or not. Nothing is read before it is asked for.

    Args:
        path: The folder.

    Raises:
        BadFile: If it is not the folder of a run, or has a newer schema.
    """

    def __init__(self, path: Path | str) -> None:
        self.folder = RunFolder(path)
        self.manifest: Mapping[str, Any] = self.folder.manifest()
        """Everything that decides the numbers: settings, data, model, versions; and the summary of a finished run."""
        self.settings = settings_of(self.manifest, str(path))
        self._reader = Reader(self.folder, Shape.of(self.settings, self.total), checksums_of(self.manifest))

    def __repr__(self) -> str:
        try:
            there = f"{len(self):,} of {self.total:,} rows"
        except ContextMixError:
            there = "rows that cannot be counted"  # what is wrong is said by whoever asks for a row
        return f"<Run {str(self.folder.path)!r}: {cut(', '.join(self.settings.methods), 120)} of {there}>"

    def __len__(self) -> int:
        """Rows that are there, failures included."""
        if not self.folder.shards():
            return 0
        with self._readable():
            return int(self._opened(self.folder.shards()).count_rows())

    @property
    def total(self) -> int:
        """Rows of the data."""
        return int(self.manifest["data"]["rows"])

    @property
    def finished(self) -> bool:
        """Whether all rows are there."""
        return len(self) == self.total

    @property
    def dataset(self) -> ds.Dataset:
        """All shards that are finished by now as one pyarrow dataset, for filters, columns and batches of any size.

        Before that, each is compared with its checksum, once as long as it does not change.
        """
        paths = self.folder.shards()
        if not paths:
            raise BadFile(f"{self.folder.path} holds no finished shard yet. Run the same command again to resume.")
        with self._readable():
            for path in paths:
                self._reader.refuse_damaged(path)
            return self._opened(paths)

    def to_pandas(self, columns: list[str] | None = None) -> pd.DataFrame:
        """The rows with results as a DataFrame, indexed by row; all of them are loaded.

        Args:
            columns: Only these, such as ``["id", "prediction", "globenc"]``; left out, all, but of answers none that
                `Run.lines` and `Run.answer` read.
        """
        return self._frame(ds.field("problem").is_null(), self._shown if columns is None else columns)

    def failures(self) -> pd.DataFrame:
        """The rows without results: id, source, problem and reason, indexed by row."""
        return self._frame(ds.field("problem").is_valid(), ["id", "source", "problem", "reason"])

    def summary(self) -> dict[str, Any]:
        """Rows, results and failures by problem, of answers those whose context was cut, and what is known of time."""
        problems = self.failures()["problem"].value_counts().to_dict() if len(self) else {}
        failed = sum(problems.values())
        found = {"rows": self.total, "done": len(self), "results": len(self) - failed, "failed": failed}
        if isinstance(self.settings, AnswerSettings):
            found["cut"] = sum(map(bool, map(len, self.to_pandas(["cut"])["cut"]))) if len(self) else 0
        return {**found, "problems": problems, **self.manifest.get("summary", {})}

    @property
    def _shown(self) -> list[str] | None:
        return list(SHOWN) if isinstance(self.settings, AnswerSettings) else None

    def _number(self, name: str) -> int:
        """The row that has an id."""
        with self._readable():
            found = self.dataset.to_table(filter=ds.field("id") == name, columns=["row", "problem"]).to_pylist()
        if not found:
            raise UnknownPosition("id", name, [f"{len(self):,} of {self.total:,} rows"])
        own = [one["row"] for one in found if one["problem"] != "duplicate_id"]
        return int((own or [found[0]["row"]])[0])

    def _rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some columns of the rows with results, in the order of the data, a few rows in memory at a time."""
        for path in self.folder.shards():
            with self._readable():
                self._reader.refuse_damaged(path)
            with path.open("rb") as file:
                for batch in self._batches(file, [*columns, "problem"]):
                    yield from (one for one in batch if one.pop("problem") is None)

    def _batches(self, file: Any, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        with self._readable():
            opened = pq.ParquetFile(file, page_checksum_verification=True)
            for batch in opened.iter_batches(FEW, columns=list(columns)):
                yield batch.to_pylist()

    def _row(self, number: int) -> dict[str, Any]:
        number = index_of("Run: number", number)
        shard = self.folder.shard(number // self.settings.shard_size)
        if not 0 <= number < self.total or not shard.exists():
            there = f"{len(self):,} of {self.total:,} rows, whole shards of {self.settings.shard_size}"
            raise UnknownPosition("row", number, [there])
        # Shards hold a window of the data in its order, so the place within one is known.
        with self._readable():
            self._reader.refuse_damaged(shard)
            with shard.open("rb") as file:
                table = pq.read_table(file, filters=ds.field("row") == number, page_checksum_verification=True)
        found: dict[str, Any] = table.to_pylist()[0]
        if found["problem"] is not None:
            what = "answer" if isinstance(self.settings, AnswerSettings) else "scores"
            raise BadInput(f"Row {number} ({found['source']}) has no {what}. {found['reason']}")
        return found

    def _array(self, number: int, name: str) -> Any:
        with self._readable():
            # The last file first: what a killed process wrote before its row was saved is there again, as it was saved.
            for path in reversed(self.folder.maps(number // self.settings.shard_size)):
                self._reader.refuse_damaged(path)
                with safe_open(path, framework="numpy") as file:
                    if f"{number}/{name}" in file.keys():  # noqa: SIM118, the file is no mapping
                        return file.get_tensor(f"{number}/{name}")
        raise BadFile(
            f"The map of row {number} is missing from {self.folder.path / 'maps'}: it was removed after the run. "
            f"{repair(self.folder)}"
        )

    def _frame(self, where: Any, columns: list[str] | None) -> pd.DataFrame:
        if columns is not None:
            refuse_entries("Run.to_pandas: columns", columns, str)
        dataset = self.dataset
        known = dataset.schema.names
        for name in columns or []:
            if name not in known:
                raise UnknownName("column of this run", name, known)
        chosen = None if columns is None else ["row", *(name for name in columns if name != "row")]
        with self._readable():
            return dataset.to_table(filter=where, columns=chosen).to_pandas().set_index("row")

    def _opened(self, paths: Sequence[Path]) -> ds.Dataset:
        """Shards as one dataset; pyarrow opens no file by a name that is not UTF-8."""
        checked = ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        )
        if is_utf8(paths[0]):
            return ds.dataset([str(path) for path in paths], format=checked)
        parts = [checked.make_fragment(pa.PythonFile(path.open("rb"), mode="r")) for path in paths]
        return ds.FileSystemDataset(parts, parts[0].physical_schema, checked)

    def _unfit(self, number: int, reason: object) -> BadFile:
        return BadFile(
            f"What {self.folder.path} holds of row {number} does not fit together ({reason}): it was damaged. "
            f"{repair(self.folder)}"
        )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Say as `BadFile` which file is damaged, and how it is repaired."""
        try:
            yield
        except (OSError, ValueError, pa.ArrowException, SafetensorError) as reason:
            said = str(reason).splitlines()[0].rstrip(".") if str(reason) else type(reason).__name__
            raise BadFile(f"A file of {self.folder.path} cannot be read: {said}. {repair(self.folder)}") from reason
