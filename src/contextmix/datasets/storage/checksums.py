"""SHA-256 of the files of finished shards: whether what is read is what was written, and what of a folder can stay."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextmix.datasets.reading.files import readable
from contextmix.datasets.storage.answer_settings import AnswerSettings
from contextmix.datasets.storage.folder import FORMAT, RunFolder
from contextmix.datasets.storage.settings import Settings
from contextmix.errors import BadFile

CHECKSUMS = "checksums"
"""The part of a manifest that holds them: name of a file, from the folder of the run, → SHA-256 of all its bytes."""
SECONDS = 1.0
"""So often at most is the manifest written while shards are finished."""


@dataclass(frozen=True)
class Shape:
    """What every shard of a run must be.

    Attributes:
        columns: Those that it has.
        size: Its number of rows; the last one may have fewer.
        total: Rows of all shards.
    """

    columns: tuple[str, ...]
    size: int
    total: int

    @classmethod
    def of(cls, settings: Settings | AnswerSettings, total: int) -> Shape:
        """By the settings and the number of rows of the data."""
        return cls(settings.columns, settings.shard_size, total)

    @property
    def count(self) -> int:
        """Number of shards."""
        return -(-self.total // self.size)

    def fits(self, folder: RunFolder, number: int) -> bool:
        """Whether a shard can be read to its end and holds the rows and columns that belong into it."""
        table = folder.read(number)
        wanted = range(number * self.size, min((number + 1) * self.size, self.total))
        return (
            table is not None
            and set(self.columns) <= set(table.column_names)
            and table["row"].to_pylist() == list(wanted)
        )


class Record:
    """The manifest of a run at work: it learns the checksums of shards as they are finished.

    Args:
        folder: Of the run.
        manifest: What it says beside checksums.
        known: Checksums of the files of shards that are finished.
    """

    def __init__(self, folder: RunFolder, manifest: Mapping[str, Any], known: Mapping[str, str]) -> None:
        self.folder, self.manifest, self.known = folder, dict(manifest), dict(known)
        self.written = 0.0

    def add(self, number: int) -> None:
        """A shard is finished. What is not in the manifest yet when a process is killed is looked at by `trusted`."""
        self.known |= digests(self.folder, number)
        if time.monotonic() - self.written > SECONDS:
            self.keep()

    def keep(self, **more: Any) -> None:
        """Write the manifest, unless it says all that already."""
        self.manifest |= more
        found = {**self.manifest, CHECKSUMS: dict(sorted(self.known.items()))}
        if {"format": FORMAT, **found} != self.folder.manifest():
            self.folder.write_manifest(found)
        self.written = time.monotonic()


class Reader:
    """Looks at the files of a run before they are read: each once, as long as it does not change.

    Args:
        folder: Of the run.
        shape: What its shards must be.
        known: Checksums that its manifest holds.
    """

    def __init__(self, folder: RunFolder, shape: Shape, known: Mapping[str, str]) -> None:
        self.folder, self.shape, self.known = folder, shape, known
        self.seen: dict[Path, tuple[int, int]] = {}

    def refuse_damaged(self, path: Path) -> None:
        """Refuse a shard or a file of maps that is not what was written.

        Raises:
            BadFile: If it was damaged, or swapped with another.
        """
        status = path.stat()
        stamp = status.st_size, status.st_mtime_ns
        if self.seen.get(path) == stamp:
            return
        name, found = _name(self.folder, path), _digest(path)
        if self.known.get(name) != found:  # a run that is at work may have written it since
            self.known = checksums_of(self.folder.manifest())
        wanted = self.known.get(name, found)
        unknown_shard = name not in self.known and path.suffix == ".parquet"
        if wanted != found or (unknown_shard and not self.shape.fits(self.folder, int(path.stem))):
            raise BadFile(damaged(self.folder, name))
        self.seen[path] = stamp


def damaged(folder: RunFolder, name: str) -> str:
    """What is said of a file that cannot be trusted, and how it is repaired."""
    return (
        f"{name} in {folder.path} is not what the run wrote: it was damaged or replaced, so its numbers are not "
        f"returned. {repair(folder)}"
    )


def repair(folder: RunFolder) -> str:
    """The command that measures anew what is damaged or missing."""
    return (
        f"Run the same command again (contextmix run … --out {folder.path}, or contextmix.run, with the same data "
        f"and options): it measures only that part again."
    )


def trusted(
    folder: RunFolder, shape: Shape, known: Mapping[str, str]
) -> tuple[dict[int, tuple[int, int]], dict[str, str]]:
    """The finished shards that are what was written; what is left of others is removed, so that they are done anew.

    Args:
        folder: Of a run, locked.
        shape: What its shards must be.
        known: Checksums that its manifest holds. A shard without any (of an earlier version, or of a process that was
            killed) is kept if it can be read to its end and its rows are those that belong there.

    Returns:
        Number → rows and failures; and the checksums of all files of these shards.
    """
    there, found = folder.finished(shape.count), dict[str, str]()
    recorded: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for name, digest in known.items():
        recorded[number_of(name)][name] = digest
    for number in range(shape.count):
        own = digests(folder, number) if number in there else {}
        if wanted := recorded.get(number):
            sound = all(own.get(name) == digest for name, digest in wanted.items())
        else:
            sound = number not in there or shape.fits(folder, number)
        if sound:
            found |= own
        else:
            folder.discard(number)
            there.pop(number, None)
    return there, found


def checksums_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Those that a manifest holds; earlier versions wrote none."""
    found = manifest.get(CHECKSUMS)
    return dict(found) if isinstance(found, Mapping) else {}


def digests(folder: RunFolder, number: int) -> dict[str, str]:
    """The checksums of a shard and of its maps, as they are on the disk."""
    return {_name(folder, path): _digest(path) for path in (folder.shard(number), *folder.maps(number))}


def number_of(name: str) -> int:
    """The shard that a file belongs to, by its name; -1 for a name that is none of ours.

    Example:
        >>> number_of("maps/00012-001.safetensors"), number_of("shards/00012.parquet")
        (12, 12)
    """
    found = Path(name).stem.partition("-")[0]
    return int(found) if found.isdecimal() else -1


def _name(folder: RunFolder, path: Path) -> str:
    return path.relative_to(folder.path).as_posix()


def _digest(path: Path) -> str:
    with readable(str(path)), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
