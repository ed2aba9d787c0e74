"""A text cut into sections: words, sentences, paragraphs, lines, chunks of tokens, or spans that somebody names.

A section is a slice of its text, exact to the character: ``section.text == text[section.start:section.stop]``. Sections
of one cut come in order and do not overlap. Unless somebody named them, no section begins or ends with white space, and
every other character of the text belongs to one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from contextmix.errors import BadInput, BadOption
from contextmix.maths.whole import plain, whole_number
from contextmix.tokens.sentences import sentence_ends

Span = tuple[int, int]
"""First character, and one past the last."""
By = str | int | Sequence[Sequence[int]]
"""How a text is cut: one of `KINDS`, a number of tokens, or spans."""

KINDS = ("token", "word", "sentence", "paragraph", "line", "document", "whole")
"""What a text can be cut into by name. A document is a whole text, of several; ``whole`` says the same of one."""

# A Han character is a word by itself, with the selectors of its variant: Chinese and Japanese write no spaces.
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_HAN}][\ufe00-\ufe0f\U000e0100-\U000e01ef]*|[^\\s{_HAN}]+")
_LINE = re.compile("[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_BLANK_LINE = re.compile("(?>\r\n|[\n\r])[^\\S\r\n]*(?>\r\n|[\n\r])\\s*|\u2029")


@dataclass(frozen=True)
class Section:
    """A slice of a text.

    Attributes:
        text: The slice.
        start: Its first character.
        stop: One past its last character.
        document: Which of several texts it is part of, counted from 0.

    Example:
        >>> Section("ball", 6, 10).span
        (6, 10)
    """

    text: str
    start: int
    stop: int
    document: int = 0

    @property
    def span(self) -> Span:
        """First character, and one past the last."""
        return self.start, self.stop


def cut_text(text: str, by: By, pieces: Sequence[Span | None] = (), *, document: int = 0) -> tuple[Section, ...]:
    """Cut a text.

    Args:
        text: Any text.
        by: One of `KINDS`, a number of tokens, or spans ``[(start, stop), …]``, which are put in order.
        pieces: For tokens and chunks of them: where each token stands in the text. Tokens that share a character (the
            bytes of an emoji) are one section.
        document: Which of several texts this is.

    Returns:
        The sections in order; none of a text that is white space.

    Raises:
        BadOption: If there is no such way to cut.
        BadInput: If a span is no pair, lies outside of the text, is empty, or overlaps another.

    Example:
        >>> [one.text for one in cut_text("Mr. Fox has 3.5 eggs. He runs!", "sentence")]
        ['Mr. Fox has 3.5 eggs.', 'He runs!']
        >>> cut_text("a red ball", [(2, 5)])
        (Section(text='red', start=2, stop=5, document=0),)
    """
    way = plain_cut(by)
    if isinstance(way, str):
        spans = _trimmed(text, _named(text, way, pieces))
    elif isinstance(way, int):
        spans = _trimmed(text, _chunks(text, pieces, way))
    else:
        spans = iter(checked_spans(way, len(text), text))
    return tuple(Section(text[start:stop], start, stop, document) for start, stop in spans)


def plain_cut(by: Any) -> By:
    """A way to cut as text, number or list, whichever library its numbers are of.

    Raises:
        BadOption: If it is none of `KINDS`, no number of tokens from 1 on, and no list.

    Example:
        >>> import numpy as np
        >>> plain_cut(np.int64(8)), plain_cut(np.array([[0, 3]]))
        (8, [[0, 3]])
    """
    number = whole_number(by)
    if isinstance(by, str) and by in KINDS:
        return by
    if number is not None and number > 0:
        return number
    found = plain(by)
    if _is_list(found):
        return [_plain_span(one) for one in found]
    raise BadOption(
        f"A text is not cut by {by!r:.60}. Say {', '.join(KINDS)}, a number of tokens (at least 1), or spans "
        "[(start, stop), …] of characters."
    )


def checked_spans(spans: Iterable[Any], length: int, text: str = "") -> list[Span]:
    """Spans that somebody named, in order.

    Args:
        spans: Pairs of whole numbers.
        length: Of the text.
        text: The text, where a span of nothing but white space is to be refused too.

    Raises:
        BadInput: If one is no pair, lies outside, is empty, or overlaps another.

    Example:
        >>> checked_spans([(4, 6), (0, 3)], 6)
        [(0, 3), (4, 6)]
        >>> checked_spans([(0, 3), (2, 6)], 6)
        Traceback (most recent call last):
        contextmix.errors.BadInput: The spans (0, 3) and (2, 6) overlap, so a character would count twice. ...
    """
    found = sorted(_pair(one) for one in spans)
    for start, stop in found:
        if not 0 <= start < stop <= length:
            raise BadInput(
                f"The span ({start}, {stop}) is empty or does not lie within the text of {length} characters. A span "
                "is (first character, one past the last)."
            )
        if text and not text[start:stop].strip():
            raise BadInput(f"The span ({start}, {stop}) holds nothing but white space, so it can be no section.")
    for before, after in pairwise(found):
        if after[0] < before[1]:
            raise BadInput(
                f"The spans {before} and {after} overlap, so a character would count twice. Give spans that do not, or "
                "ask twice."
            )
    return found


def moved(spans: Iterable[Span | None], by: int) -> list[Span | None]:
    """Spans of a text as places in one that begins elsewhere; none is before its first character.

    Example:
        >>> moved([(4, 6), None], -5)
        [(0, 1), None]
    """
    return [None if span is None else (max(span[0] + by, 0), max(span[1] + by, 0)) for span in spans]


def _plain_span(one: Any) -> Any:
    """A span with Python's numbers; anything else as it is, for whoever checks it."""
    return [each if (number := whole_number(each)) is None else number for each in one] if _is_list(one) else one


def _is_list(one: Any) -> bool:
    return isinstance(one, Sequence) and not isinstance(one, str | bytes | bytearray)


def _pair(one: Any) -> Span:
    numbers = [whole_number(each) for each in one] if _is_list(one) else []
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise BadInput(f"A span is a pair of whole numbers, (first character, one past the last); got {one!r:.60}.")
    return numbers[0], numbers[1]


def _named(text: str, by: str, pieces: Sequence[Span | None]) -> Iterable[Span]:
    if by in ("document", "whole"):
        return [(0, len(text))]
    if by == "token":
        return _chunks(text, pieces, 1)
    if by in ("word", "line"):
        return (found.span() for found in (_WORD if by == "word" else _LINE).finditer(text))
    paragraphs = _between(text, [(found.start(), found.end()) for found in _BLANK_LINE.finditer(text)])
    if by == "paragraph":
        return paragraphs
    return (
        (start + first, start + last)
        for start, stop in paragraphs
        for first, last in _between(text[start:stop], [(end, end) for end in sentence_ends(text[start:stop])])
    )


def _between(text: str, gaps: Sequence[Span]) -> list[Span]:
    """What stands between gaps."""
    edges = [0, *(edge for gap in gaps for edge in gap), len(text)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _chunks(text: str, pieces: Sequence[Span | None], size: int) -> Iterator[Span]:
    """So many tokens each. A cut goes where a token begins, so what no token holds stays with the one before it."""
    last, count, end = 0, 0, 0
    for start, stop in sorted(span for span in pieces if span is not None):
        if count >= size and start >= end and start > last:
            yield last, start
            last, count = start, 0
        count, end = count + 1, max(end, stop)
    yield last, len(text)


def _trimmed(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Spans without white space at their ends; those of nothing else are left out."""
    for start, stop in spans:
        inner = text[start:stop]
        if own := inner.strip():
            first = start + len(inner) - len(inner.lstrip())
            yield first, first + len(own)
