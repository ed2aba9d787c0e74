"""``result.save("x.html")`` and other files to look at: the ending chooses who writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextmix.errors import BadOption, OutputUnwritable
from contextmix.plugins.registry import Registry
from contextmix.results.documents import SUFFIXES
from contextmix.results.files import PAGES, refuse_place, write_atomically
from contextmix.results.token_map import TokenMap


@dataclass(frozen=True)
class Saved:
    """A kind of file that a map can be drawn into.

    Attributes:
        endings: Of the names of such files.
        encode: ``encode(token_map, ending, over)`` gives the bytes of the file.
        holds_media: Whether it can hold the image or the sound that was explained.
    """

    endings: tuple[str, ...]
    encode: Callable[[TokenMap, str, Any], bytes]
    holds_media: bool = False


SAVED: Registry[Saved] = Registry("contextmix.views.saved", "SAVED", "kind of file")


def save(token_map: TokenMap, path: str | Path, overwrite: bool, over: Any) -> None:
    """Draw a map into a file; see `TokenMap.save`."""
    ending = Path(path).suffix.lower()
    kind = next((one for one in SAVED.values() if ending in one.endings), None)
    if kind is None:
        drawn = ", ".join(known for one in SAVED.values() for known in one.endings if known not in PAGES)
        raise OutputUnwritable(
            path,
            f"its name ends in {ending!r}, and maps are written as {', '.join(SUFFIXES)} or {PAGES[0]}, or drawn as "
            f"{drawn}",
        )
    if over is not None and not kind.holds_media:
        raise BadOption(f"An image or a sound belongs into a page, and {path} is none. Leave it out.")
    refuse_place(path, overwrite)  # before the work, not after it
    write_atomically(path, kind.encode(token_map, ending, over), overwrite)
