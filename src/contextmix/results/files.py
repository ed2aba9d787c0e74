"""Files written all or nothing, and what is said early of a place where none can be."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from contextmix.errors import OutputExists, OutputUnwritable, refuse_kind

PAGES = (".html", ".htm")
"""Endings of pages to look at, which cannot be read back."""
_ACCESS_LIST = "system.posix_acl_access"


def write_atomically(path: Path | str, data: bytes, overwrite: bool = False) -> None:
    """Write a file completely or not at all: an interruption leaves the old content and no rest.

    A file that is replaced keeps its mode, its access list and, where this process may give files away, its owner. A
    symbolic link stays one: the file that it names is written.

    Args:
        path: The file, or a link to one; its folder must exist.
        data: The whole content.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If the folder is missing, closed or full, or the path is a folder, a pipe or a device.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(f"{folder}/note.txt", b"all of it")
        ...     Path(folder, "note.txt").read_bytes()
        b'all of it'
    """
    path = Path(path)
    refuse_place(path, overwrite)
    with _explained(path):
        target = _target(path)
        # In the same folder, because only within one file system is replacing a file a single step.
        part = target.parent / f".{uuid.uuid4().hex}.part"
        try:
            with part.open("xb") as file:
                _take_permissions(part, target)  # before the content: what was private never lies open
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def at_home(path: Path | str) -> Path:
    """A path whose ``~`` is the home of a user; where there is no such user it is a name like any other, as in a shell.

    Example:
        >>> at_home("~nobody-of-this-name/run").as_posix()
        '~nobody-of-this-name/run'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def refuse_place(path: Path | str, overwrite: bool = False) -> None:
    """Say early, before any work, that a file could not be written.

    Args:
        path: The file to be written later.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If the folder is missing, or the path is a folder, a pipe, a device or no possible name.

    Example:
        >>> refuse_place("missing/map.json")
        Traceback (most recent call last):
        contextmix.errors.OutputUnwritable: Cannot write missing/map.json: there is no folder missing...
    """
    path = Path(path)
    refuse_kind("overwrite", overwrite, bool)
    with _explained(path):
        target = _target(path)
        if target.is_dir():
            raise OutputUnwritable(path, "it is a folder")
        if not target.parent.is_dir():
            raise OutputUnwritable(path, f"there is no folder {target.parent}")
        if target.exists() and not target.is_file():
            raise OutputUnwritable(path, "it is a pipe or a device, and results are kept in files")
        if target.exists() and not overwrite:
            raise OutputExists(path)


def make_folder(path: Path | str) -> None:
    """Make a folder and those around it; one that is there already stays.

    Args:
        path: The folder.

    Raises:
        OutputUnwritable: If it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_folder(f"{folder}/tables/2026")
        ...     Path(folder, "tables", "2026").is_dir()
        True
    """
    with _explained(Path(path)):
        Path(path).mkdir(parents=True, exist_ok=True)


def _target(path: Path) -> Path:
    """The file that is written: the path, or what a link names, whether it is there yet or not."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OutputUnwritable(path, "it is a link that points to itself")
    return target


def _take_permissions(part: Path, target: Path) -> None:
    """Give a new file the owner, the mode and the access list of the one that it replaces, as far as that is allowed.

    A group that cannot be given gets nothing that others have not: its rights would be those of another group.
    """
    try:
        old, new = target.stat(), part.stat()
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(old.st_mode) & (stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)
    if hasattr(os, "chown") and (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        for owner in ((old.st_uid, old.st_gid), (-1, old.st_gid)):
            with contextlib.suppress(OSError):
                os.chown(part, *owner)
                break
        else:
            mode &= ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    part.chmod(mode)
    if hasattr(os, "getxattr"):
        with contextlib.suppress(OSError):  # none there, or a file system without them
            os.setxattr(part, _ACCESS_LIST, os.getxattr(target, _ACCESS_LIST))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as reason:
        raise OutputUnwritable(path, getattr(reason, "strerror", None) or str(reason)) from reason
