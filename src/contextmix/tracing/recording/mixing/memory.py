"""Refuse what does not fit into memory before the work, with the length that would."""

from __future__ import annotations

import math
import os

from contextmix.errors import BadInput

_SHARE = 0.5
"""Of the machine's memory that the maps of one layer may take."""


def room_for(size: int, tokens: int, name: str) -> None:
    """Refuse maps of one mixer that take more bytes than there are.

    Args:
        size: Bytes of all maps, which grow with the square of the length.
        tokens: The length.
        name: Of the mixer.

    Raises:
        BadInput: If they do not fit.
    """
    room = _SHARE * _memory()
    if size > room:
        fits = int(tokens * math.sqrt(room / size))
        raise BadInput(
            f"{name} has a map of its own for every channel: {size / 2**30:.1f} GiB in one layer at {tokens} tokens, "
            f"and {room / 2**30:.1f} GiB are there for it. About {fits} tokens would fit. Shorten the text, or use a "
            "method that reads a few rows alone, such as evidence."
        )


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not told on this system
        return math.inf
