"""Which section each token belongs to, where tokens and sections are cut from the same text by different hands."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from contextmix.tokens.sections import Span


def owners(
    pieces: Sequence[Span | None], sections: Sequence[Span], text: str, within: Sequence[Span] = ()
) -> list[int | None]:
    """The section of each token: the one that holds most of its visible characters, the first of equals.

    A token of white space (a line break between two sentences, or the ``▁`` of SentencePiece) goes with the section
    before it, or with the first one, as long as both lie in the same text. So all that a text gave is counted, and
    nothing twice. The bytes of one character all stand where it stands.

    Args:
        pieces: Where each token stands; None for tokens that stand nowhere (``<s>``).
        sections: In order, without overlap.
        text: What both are places in.
        within: The texts that sections were cut from, in order, without overlap; white space between them is of none.

    Returns:
        For each token the number of its section, or None.

    Example:
        >>> owners([None, (0, 2), (2, 5), (5, 6), (6, 7)], [(0, 2), (3, 7)], "a. b. c", [(0, 7)])
        [None, 0, 1, 1, 1]
    """
    starts = [start for start, _ in sections]
    borders = [start for start, _ in within]
    return [None if piece is None else _owner(piece, sections, starts, text, within, borders) for piece in pieces]


def _owner(
    piece: Span,
    sections: Sequence[Span],
    starts: Sequence[int],
    text: str,
    within: Sequence[Span],
    borders: Sequence[int],
) -> int | None:
    start, stop = piece
    first = max(0, bisect_right(starts, start) - 1)
    shared: dict[int, int] = {}
    for number in range(first, len(sections)):
        if sections[number][0] >= stop:
            break
        if both := _visible(text, max(start, sections[number][0]), min(stop, sections[number][1])):
            shared[number] = both
    if shared:
        best = max(shared, key=lambda number: shared[number])
        return best if 2 * shared[best] >= _visible(text, start, stop) or len(shared) > 1 else None
    return None if _visible(text, start, stop) else _neighbour(start, sections, starts, within, borders)


def _visible(text: str, start: int, stop: int) -> int:
    return sum(not letter.isspace() for letter in text[start:stop])


def _neighbour(
    start: int, sections: Sequence[Span], starts: Sequence[int], within: Sequence[Span], borders: Sequence[int]
) -> int | None:
    """The section before a place, or the first one, of the same text."""
    around = bisect_right(borders, start) - 1
    if around < 0 or start >= within[around][1]:
        return None
    number = bisect_right(starts, start) - 1
    if number >= 0 and sections[number][0] >= within[around][0]:
        return number
    return number + 1 if number + 1 < len(sections) and starts[number + 1] < within[around][1] else None
