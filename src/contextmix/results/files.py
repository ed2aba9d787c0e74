"""Files written all or nothing, and what is said early of a place where none can be."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from contextmix.errors import OutputExists, OutputUnwritable

PAGES = (".html", ".htm")
"""Endings of pages to look at, which cannot be read back."""


def write_atomically(path: Path | str, data: bytes, overwrite: bool = False) -> None:
    """Write a file completely or not at all: an interruption leaves the old content and no rest.

    Args:
        path: The file; its folder must exist.
        data: The whole content.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If the folder is missing, closed or full, or the path is a folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(f"{folder}/note.txt", b"all of it")
        ...     Path(folder, "note.txt").read_bytes()
        b'all of it'
    """
    path = Path(path)
    # In the same folder, because only within one file system is replacing a file a single step.
    part = path.parent / f".{uuid.uuid4().hex}.part"
    refuse_place(path, overwrite)
    try:
        with _explained(path):
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def refuse_place(path: Path | str, overwrite: bool = False) -> None:
    """Say early, before any work, that a file could not be written.

    Args:
        path: The file to be written later.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If the folder is missing, or the path is a folder or no possible name.

    Example:
        >>> refuse_place("missing/map.json")
        Traceback (most recent call last):
        contextmix.errors.OutputUnwritable: Cannot write missing/map.json: there is no folder missing...
    """
    path = Path(path)
    with _explained(path):
        if path.is_dir():
            raise OutputUnwritable(path, "it is a folder")
        if not path.parent.is_dir():
            raise OutputUnwritable(path, f"there is no folder {path.parent}")
        if path.exists() and not overwrite:
            raise OutputExists(path)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as reason:
        raise OutputUnwritable(path, getattr(reason, "strerror", None) or str(reason)) from reason
