"""What people marked in a text: read from a data set, and found again in the tokens.

A rationale is a list of 0 and 1, one per word between blanks; or a list of [start, end) in characters; or a list of
such lists, one per annotator, of which what at least half of them marked counts. In CSV and TSV the same as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contextmix.tokens.pieces import Tokens

Spans = tuple[tuple[int, int], ...]
"""[start, end) of characters."""


def spans_of(value: object, text: str) -> Spans | None:
    """The marked stretches of a text.

    Args:
        value: As the data set has it.
        text: The text.

    Returns:
        In order; empty where nothing was marked, None where nobody was asked (null, or no annotator).

    Raises:
        ValueError: If it is no rationale of this text; the message goes on after its name.

    Example:
        >>> spans_of([0, 0, 1], "a good film")
        ((7, 11),)
        >>> spans_of([[0, 1, 1], [0, 0, 1], [0, 0, 0]], "a good film")
        ((7, 11),)
        >>> spans_of([[2, 6]], "a good film")
        ((2, 6),)
    """
    if isinstance(value, str):
        value = _read(value)
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise ValueError(f"is {type(value).__name__}, not a list. Write a 0 or 1 per word, or [start, end) pairs.")
    words = [found.span() for found in re.finditer(r"\S+", text)]
    annotators = [value] if _is_marks(value) or _is_spans(value, len(words)) else value
    marked = [_marked(one, words, len(text)) for one in annotators]
    return _runs(2 * np.sum(marked, axis=0) >= len(marked))


def marked_tokens(spans: Spans, tokens: Tokens) -> NDArray[np.bool_] | None:
    """Which tokens share a character with a marked stretch, (token,); None where tokens do not know their characters.

    Example:
        >>> marked_tokens(((2, 6),), Tokens(("[CLS]", "a", "good"), spans=(None, (0, 1), (2, 6))))
        array([False, False,  True])
    """
    known = tokens.spans
    if known is None:
        return None
    return np.array([one is not None and any(one[0] < end and start < one[1] for start, end in spans) for one in known])


def _read(text: str) -> object:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        raise ValueError(f"is a text that is not JSON, {text[:40]!r}. Write a list such as [0, 1].") from None


def _is_marks(value: Sequence[object]) -> bool:
    return all(isinstance(mark, bool | int | float) and mark in (0, 1) for mark in value)


def _is_spans(value: Sequence[object], words: int) -> bool:
    """Whether it is a list of [start, end); [0, 1] in a text of two words is what an annotator marked."""
    pairs = all(isinstance(one, list) and len(one) == 2 and all(type(end) is int for end in one) for one in value)
    return pairs and not (words == 2 and all(_is_marks(one) for one in value))  # type: ignore[arg-type]


def _marked(value: object, words: Sequence[tuple[int, int]], length: int) -> NDArray[np.bool_]:
    """What one annotator marked, (character,)."""
    if value == []:
        pairs = []
    elif isinstance(value, list) and _is_marks(value):
        if len(words) != len(value):
            raise ValueError(f"has {len(value)} marks, but the text has {len(words)} words separated by spaces.")
        pairs = [span for span, mark in zip(words, value, strict=True) if mark]
    elif isinstance(value, list) and _is_spans(value, len(words)):
        pairs = [(start, end) for start, end in value]
        if any(not 0 <= start < end <= length for start, end in pairs):
            raise ValueError(f"holds [start, end) that are no stretches of the text's {length} characters: {value}.")
    else:
        raise ValueError(f"holds other things than 0 and 1, or [start, end): {str(value)[:60]}.")
    found = np.zeros(length, dtype=np.bool_)
    for start, end in pairs:
        found[start:end] = True
    return found


def _runs(marked: NDArray[np.bool_]) -> Spans:
    """Stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return tuple((int(start), int(end)) for start, end in edges.reshape(-1, 2))
