"""Sections asked for as people speak of them: ``the second sentence``, ``3rd word``, ``last paragraph``."""

from __future__ import annotations

import re

from contextmix.tokens.sections import KINDS

_WORDS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ASKED = re.compile(rf"(?:the )?(?:(\d{{1,9}})(?:st|nd|rd|th)|({'|'.join(_WORDS)})|(last)) ({'|'.join(KINDS)})")


def ordinal(asked: str) -> tuple[int, str] | None:
    """The position and the kind of section that a phrase names; -1 is the last. None if it names none.

    Example:
        >>> ordinal("the second sentence"), ordinal("12th word"), ordinal("last line"), ordinal("Lily")
        ((1, 'sentence'), (11, 'word'), (-1, 'line'), None)
    """
    found = _ASKED.fullmatch(asked.strip().casefold())
    if found is None or found[1] == "0":
        return None
    number, word, _, kind = found.groups()
    return (int(number) - 1 if number else _WORDS.index(word) if word else -1), kind
