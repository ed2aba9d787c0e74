"""What a run left behind, read lazily: a table of any size, and each text as the `TokenMap` that `explain` gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from contextmix.datasets.storage.checksums import Reader, Shape, checksums_of, repair
from contextmix.datasets.storage.folder import RunFolder, is_utf8
from contextmix.datasets.storage.manifests import settings_of
from contextmix.datasets.storage.table import CHECKS, METRICS, tokens_of
from contextmix.errors import (
    BadFile,
    BadInput,
    BadOption,
    ContextMixError,
    UnknownName,
    UnknownPosition,
    refuse_entries,
    refuse_kind,
)
from contextmix.maths.shapes import cut
from contextmix.maths.whole import index_of
from contextmix.plugins.contracts import Scored
from contextmix.plugins.plan import Plan
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap

_RECORDED = ("conservation", "block_equation")
"""The columns that say how well recorded blocks proved themselves."""


class Run:
    """The results of a run, finished or not; from `contextmix.run` or `contextmix.open_run`.

    Nothing is read before it is asked for. Rows are in the order of the data.

    Args:
        path: The folder.

    Raises:
        BadFile: If it is no folder of a run, or of a newer schema.
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
            raise BadFile(f"{self.folder.path} holds no finished shard yet. Run the same command again to go on.")
        with self._readable():
            for path in paths:
                self._reader.refuse_damaged(path)
            return self._opened(paths)

    def to_pandas(self, columns: list[str] | None = None) -> pd.DataFrame:
        """The rows with results as a DataFrame, indexed by row; all of them are loaded.

        Args:
            columns: Only these, such as ``["id", "prediction", "globenc"]``; left out, all.
        """
        return self._frame(ds.field("problem").is_null(), columns)

    def outcomes(self) -> dict[tuple[str, str], list[Scored]]:
        """What the metrics say: (metric, method) → one `Scored` per row with results, in order."""
        frame = self.to_pandas([*self.settings.metric_columns, "notes"])
        try:
            return self._outcomes(frame, [json.loads(text or "{}").get(METRICS, {}) for text in frame["notes"]])
        except (AttributeError, LookupError, TypeError, ValueError) as reason:
            raise BadFile(
                f"The notes in {self.folder.path} do not fit its metrics ({reason!r:.80}): they were damaged. "
                f"{repair(self.folder)}"
            ) from reason

    def _outcomes(self, frame: pd.DataFrame, notes: list[Any]) -> dict[tuple[str, str], list[Scored]]:
        found = {}
        for metric, method in ((one, other) for one in self.settings.metrics for other in self.settings.methods):
            column = f"{metric}:{method}"
            found[metric, method] = [
                Scored(None, own[column]["reason"])
                if np.isnan(value)
                else Scored(float(value), curve=own.get(column, {}).get("curve", {}))
                for value, own in zip(frame[column], notes, strict=True)
            ]
        return found

    def failures(self) -> pd.DataFrame:
        """The rows without results: id, source, problem and reason, indexed by row."""
        return self._frame(ds.field("problem").is_valid(), ["id", "source", "problem", "reason"])

    def summary(self) -> dict[str, Any]:
        """Rows, results and failures by problem, and what the manifest says about time."""
        problems = self.failures()["problem"].value_counts().to_dict() if len(self) else {}
        failed = sum(problems.values())
        found = {"rows": self.total, "done": len(self), "results": len(self) - failed, "failed": failed}
        return {**found, "problems": problems, **self.manifest.get("summary", {})}

    def row(self, number: int, method: str | None = None) -> TokenMap:
        """The scores of one text, as `TracedModel.explain` gives them for its query, in float32.

        Args:
            number: Its position in the data.
            method: One of the run; left out, the only one.

        Raises:
            UnknownPosition: If there is no such row yet.
            BadInput: If the row failed, with the reason.
            UnknownName: If the run did not measure the method.
        """
        name, found = self._method(method), self._row(number)
        return self._token_map(name, found, np.array(found[name], dtype=np.float32), self._column(name)["dims"])

    def map(self, number: int, method: str | None = None) -> TokenMap:
        """The whole map of one text, (query, key), with a layer axis in front where layers were asked for.

        Args:
            number: As for `row`.
            method: As for `row`.

        Raises:
            BadOption: If the run kept no maps.
        """
        name, found = self._method(method), self._row(number)
        if not self.settings.maps or "target" in self._column(name)["dims"] or found["query"] is None:
            raise BadOption(f"This run kept no maps of {name}. Run it again with maps=True (--maps) in another folder.")
        dims = [*self._column(name)["dims"][:-1], "query", "key"]
        return self._token_map(name, found, self._array(number, name), dims)

    def _column(self, name: str) -> Mapping[str, Any]:
        return self.manifest["columns"][name]  # type: ignore[no-any-return]

    def _plan(self, name: str) -> Plan:
        return self.settings.plans[self.settings.methods.index(name)]

    def _method(self, asked: str | None) -> str:
        names = self.settings.methods
        if asked is None and len(names) > 1:
            raise BadOption(f"This run measured {', '.join(names)}: say which one.")
        refuse_kind("Run: method", asked, str, type(None))
        name = names[0] if asked is None else asked.replace("-", "_")
        if name not in names:
            raise UnknownName("method in this run", name, names)
        return name

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
            raise BadInput(f"Row {number} ({found['source']}) has no scores. {found['reason']}")
        return found

    def _token_map(self, name: str, found: dict[str, Any], values: Any, dims: list[str]) -> TokenMap:
        """What was stored as a map; what does not fit together was not stored so."""
        try:
            return self._put_together(name, found, values, dims)
        except (ContextMixError, AttributeError, LookupError, TypeError, ValueError) as reason:
            raise BadFile(
                f"What {self.folder.path} holds of row {found['row']} does not fit together ({reason}): it was "
                f"damaged. {repair(self.folder)}"
            ) from reason

    def _put_together(self, name: str, found: dict[str, Any], values: Any, dims: list[str]) -> TokenMap:
        column = self._column(name)
        notes = {**column["provenance"]["notes"], **json.loads(found["notes"] or "{}").get(name, {})}
        if found["prediction"] is not None:
            notes["prediction"] = {"label": found["prediction"], "probability": found["probability"]}
        checks = notes.pop(CHECKS, {})
        if not self._plan(name).of_model:
            checks = {check: found[check] for check in _RECORDED if found[check] is not None}
        made = Provenance.from_dict({**column["provenance"], "checks": checks, "notes": notes})
        of_query = found["query"] is not None and "target" not in dims
        selected = {"query": found["query"]} if of_query and "query" not in dims else {}
        layers = column["layers"] if "layer" in dims else None
        if of_query and layers is None and column["layers"]:
            selected["layer"] = column["layers"][-1]
        targets = column["targets"] if "target" in dims else None
        return TokenMap(
            values,
            dims,
            tokens_of(found),
            Quantity(column["quantity"]),
            made,
            layers=layers,
            targets=targets,
            selected=selected,
        )

    def _array(self, number: int, name: str) -> Any:
        with self._readable():
            for path in self.folder.maps(number // self.settings.shard_size):
                self._reader.refuse_damaged(path)
                with safe_open(path, framework="numpy") as file:
                    if f"{number}/{name}" in file.keys():  # noqa: SIM118, the file is no mapping
                        return file.get_tensor(f"{number}/{name}")
        raise BadFile(
            f"The map of row {number} is in no file of {self.folder.path / 'maps'}: it was removed after the run. "
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

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Say as `BadFile` which file is damaged, and how it is repaired."""
        try:
            yield
        except (OSError, ValueError, pa.ArrowException, SafetensorError) as reason:
            said = str(reason).splitlines()[0].rstrip(".") if str(reason) else type(reason).__name__
            raise BadFile(f"A file of {self.folder.path} cannot be read: {said}. {repair(self.folder)}") from reason


def open_run(path: Path | str) -> Run:
    """The results of a run, read lazily.

    Args:
        path: The folder that `contextmix.run` or `contextmix run` wrote; it may still be at work.

    Raises:
        BadFile: If it is not the folder of a run.
    """
    return Run(path)
