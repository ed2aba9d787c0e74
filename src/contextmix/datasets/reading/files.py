"""Files as they were when they were scanned: what they are called, their hash, and whether they are still the same."""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from contextmix.errors import BadFile


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
        """Read size and time; `BadFile` where there is no readable file, or a pipe, which would be waited for."""
        with readable(shown):
            status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadFile(
                f"{shown} is a pipe or a device, but rows are read more than once and in any order. Save them to a "
                f"file, and name that."
            )
        return cls(path.resolve(), shown, status.st_size, status.st_mtime_ns)

    def refuse_changed(self) -> None:
        """`BadFile` if the file is another one by now."""
        now = Stamp.of(self.path, self.shown)
        if (now.size, now.changed) != (self.size, self.changed):
            raise BadFile(
                f"{self.shown} changed after it was scanned ({self.size} bytes then, {now.size} now), so its rows "
                f"differ from those that the run started with. Restore the file, or start a new run."
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
        raise BadFile(f"There is no file {shown}. Check the name and the current folder.") from reason
    except (OSError, pa.ArrowException) as reason:
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason).rstrip(".")
        raise BadFile(f"Cannot read {shown}: {said}. Name a complete file that you may read.") from reason
