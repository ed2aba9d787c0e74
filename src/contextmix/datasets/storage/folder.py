"""The folder of a run: what lies where, and how it stays valid whatever happens.

    manifest.json              everything that decides the numbers; written first, with a summary at the end
    shards/00000.parquet       the rows of one window of the data; there or not, never half
    maps/00000-000.safetensors its maps, where these were asked for; there before the shard is
    parts/00000-000-….parquet  batches of a shard that is not finished; gone when it is

A file is written under another name, forced to the disk and renamed. A shard that is there is finished; the manifest
holds the checksums of its files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from safetensors.numpy import save as safetensors_bytes

from contextmix.datasets.storage.identity import differences
from contextmix.errors import BadFile, OtherRun, OutputUnwritable
from contextmix.results.files import at_home, make_folder, write_atomically

FORMAT = "contextmix.run"
MANIFEST = "manifest.json"
_LOCK = ".lock"
_FOLDERS = ("shards", "maps", "parts")
_OURS = {MANIFEST, _LOCK, *_FOLDERS}


class RunFolder:
    """One folder of results.

    Args:
        path: Where it is; it need not exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = at_home(path)

    def shard(self, number: int) -> Path:
        """The table of one shard."""
        return self.path / "shards" / f"{number:05}.parquet"

    def maps(self, number: int) -> list[Path]:
        """The files with the maps of one shard."""
        return sorted((self.path / "maps").glob(f"{number:05}-*.safetensors"))

    def locked(self) -> FileLock:
        """Keep other runs out of the folder; a process that ends, however it ends, lets go of it.

        Raises:
            OtherRun: If another process is at work in it, or it holds files that are no run.
            OutputUnwritable: If it cannot be made.
        """
        self._refuse_others()
        self._make()
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise OtherRun(
                f"Another process is writing to {self.path} right now. Wait for it, or choose another folder."
            ) from None
        except OSError as reason:
            raise OutputUnwritable(self.path, reason.strerror or str(reason)) from reason
        return lock

    # Manifest --------------------------------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """What decides the numbers.

        Raises:
            BadFile: If this is not the folder of a run, or one of a newer format.
        """
        path = self.path / MANIFEST
        try:
            if path.is_fifo():
                raise ValueError("it is a pipe")
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as reason:
            said = getattr(reason, "strerror", None) or reason
            raise BadFile(f"{self.path} is not the folder of a run: {path.name} cannot be read ({said}).") from reason
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise BadFile(f"{path} does not say that its format is {FORMAT!r}, so it is not from `contextmix run`.")
        return found

    def open(self, manifest: Mapping[str, Any]) -> bool:
        """Begin a run in a folder that is `locked`, or go on with one that was made with the same settings.

        Returns:
            Whether it is begun.

        Raises:
            OtherRun: If it was made with others, which are named.
        """
        self._make()
        if not (self.path / MANIFEST).exists():
            self.write_manifest(manifest)
            return True
        there = self.manifest()
        found = [line for part in DECIDES for line in _compared(part, manifest, there)]
        if found:
            raise OtherRun(
                f"{self.path} contains a run with other settings; mixing the two would make the results "
                f"incomparable. Differences:\n  " + "\n  ".join(found) + "\nChoose another folder, or use the same "
                "settings."
            )
        return False

    def forget(self) -> None:
        """Give up a run that was begun and has no results."""
        (self.path / MANIFEST).unlink(missing_ok=True)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        text = json.dumps({"format": FORMAT, **manifest}, indent=1, ensure_ascii=False)
        write_atomically(self.path / MANIFEST, text.encode("utf-8", "backslashreplace"), overwrite=True)

    # Shards ----------------------------------------------------------------------------------------------------------

    def finished(self, count: int) -> dict[int, tuple[int, int]]:
        """The shards that are there, by their footers alone: number → rows and failures."""
        found = {}
        for number in range(count):
            try:
                with self.shard(number).open("rb") as file:
                    footer = pq.read_metadata(file)
                found[number] = footer.num_rows, int((footer.metadata or {}).get(b"contextmix.failed", 0))
            except (OSError, ValueError, pa.ArrowException):
                continue
        return found

    def shards(self) -> list[Path]:
        """The tables that are there, in the order of the data."""
        found = [path for path in (self.path / "shards").glob("*.parquet") if path.stem.isdecimal()]
        return sorted(found, key=lambda path: int(path.stem))

    def discard(self, number: int) -> None:
        """Remove what is left of a damaged shard, so that nothing of it is taken for what is measured anew."""
        for path in (self.shard(number), *self.maps(number), *self._parts(number)):
            path.unlink(missing_ok=True)

    def read(self, number: int) -> pa.Table | None:
        """One shard; None where it is not there, or damaged."""
        return _read(self.shard(number))

    def saved(self, count: int) -> int:
        """Rows that are on the disk, in shards and in parts of others."""
        there = self.finished(count)
        rows = sum(rows for rows, _ in there.values())
        return rows + sum(len(part) for number in range(count) if number not in there for part in self.parts(number))

    def write(self, number: int, tables: Sequence[pa.Table]) -> None:
        """Finish a shard: its rows, in any order, become one table in the order of the data."""
        table = pa.concat_tables(tables).sort_by("row")
        failed = len(table) - table["problem"].null_count
        metadata = {**(table.schema.metadata or {}), b"contextmix.failed": str(failed).encode()}
        write_atomically(self.shard(number), _encoded(table.replace_schema_metadata(metadata)), overwrite=True)
        for path in self._parts(number):
            path.unlink()

    def write_part(self, number: int, tables: Sequence[pa.Table]) -> None:
        """Keep batches of a shard that is not finished."""
        content = _encoded(pa.concat_tables(tables))
        name = f"{number:05}-{len(self._parts(number)):03}-{_digest(content)}.parquet"
        write_atomically(self.path / "parts" / name, content, overwrite=True)

    def parts(self, number: int) -> list[pa.Table]:
        """What an interrupted process kept of a shard, without what was damaged since."""
        whole = [path for path in self._parts(number) if _is_whole(path)]
        return [table for table in map(_read, whole) if table is not None]

    def write_maps(self, number: int, maps: Mapping[str, Any]) -> None:
        """Keep maps: ``row/method`` → array. A row in two files has the same in both: a process was interrupted."""
        path = self.path / "maps" / f"{number:05}-{len(self.maps(number)):03}.safetensors"
        # The map of one text is a slice of its batch, and safetensors writes memory as it lies, whatever the strides.
        write_atomically(path, safetensors_bytes({name: np.ascontiguousarray(one) for name, one in maps.items()}))

    def tidy(self) -> None:
        """After the last shard: the folder of parts is empty and goes, and what killed processes were writing too."""
        shutil.rmtree(self.path / "parts", ignore_errors=True)
        for rest in self.path.rglob(".*.part"):
            rest.unlink(missing_ok=True)

    def _parts(self, number: int) -> list[Path]:
        return sorted((self.path / "parts").glob(f"{number:05}-*.parquet"))

    def _make(self) -> None:
        for name in _FOLDERS:
            make_folder(self.path / name)

    def _refuse_others(self) -> None:
        """Without a manifest, whatever is there is not known to be ours."""
        try:
            ours = not self.path.is_dir() or (self.path / MANIFEST).exists()
        except OSError as reason:  # too long for a name
            raise OutputUnwritable(self.path, reason.strerror or str(reason)) from reason
        if ours:
            return
        inside = [entry for name in _FOLDERS for entry in (self.path / name).glob("*")]
        others = [entry for entry in self.path.iterdir() if entry.name not in _OURS]
        if inside or others:
            found = sorted(str(entry.relative_to(self.path)) for entry in [*inside, *others])
            raise OtherRun(
                f"{self.path} is not empty and not the folder of a run: it contains {_listed(found)} and no "
                f"{MANIFEST}. Choose a new or empty folder."
            )


def is_utf8(path: Path) -> bool:
    """Whether a name is text: pyarrow opens no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


DECIDES = ("schema", "settings", "data", "model", "versions")
"""The parts of a manifest that decide the numbers."""


def _encoded(table: pa.Table) -> Any:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _is_whole(path: Path) -> bool:
    """Whether a part still is what its name says; the names of earlier versions say nothing."""
    digest = path.stem.split("-")[2:]
    try:
        return not digest or digest == [_digest(path.read_bytes())]
    except OSError:
        return False


def _read(path: Path) -> pa.Table | None:
    try:
        with path.open("rb") as file:  # by its name, pyarrow finds no file whose name is not UTF-8
            return pq.read_table(file, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None


def _compared(part: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterable[str]:
    return differences({part: _content(mine.get(part))}, {part: _content(theirs.get(part))})


def _content(part: Any) -> Any:
    """A model without its name and revision: its hashes say what it is, wherever it was loaded from."""
    is_model = isinstance(part, Mapping) and "weights" in part
    return {name: value for name, value in part.items() if name not in ("name", "revision")} if is_model else part


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
