"""Where sentences end: a short rule of our own, without data to download, exact to the character.

A sentence ends

- behind ``.``, ``!``, ``?`` or ``…`` (several together are one end) and the closing quotes and brackets that follow,
  where white space or the end of the text comes next;
- behind 。！？ and the full stops of other scripts, with or without a space, but for a quotation that the sentence goes
  on behind (「行こう！」と言った。);
- at a line break, unless the next line goes on with a small letter (a wrapped line).

A full stop is no end behind abbreviations (``Mr.``, ``e.g.``), initials (``J. Smith``, ``U.S. Army``) or a number that
begins a line of a list (``2. Stir``); nor, as after ``…`` and closing quotes, where the next word begins with a small
letter. A text in small letters alone (a lowercased corpus) has no such sign, so there every full stop with a space
behind it ends a sentence. What this rule cannot know: ``am 3. Mai`` in German, and whether an abbreviation that people
seldom end a sentence with does so here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLOSERS = "\"'”’»›)\\]}」』）】］〉》｣*_"
_END = re.compile(
    f"(?P<western>[.!?…]+)(?P<closers>[{_CLOSERS}]*)(?=\\s|$)"
    f"|(?P<other>[。！？｡।॥؟۔።។။։]+)(?P<shut>[{_CLOSERS}]*)"
    "|(?P<line>\r\n|[\n\r\v\f\x85\u2028\u2029])"
)
_FAR = 40
"""Characters that are looked at around a full stop: more would take long where a text has nothing else."""
_NEXT = re.compile(rf"[\s\W_]{{0,{_FAR}}}(\w{{1,{_FAR}}})")
_LAST_WORD = re.compile(r"(?:^|[\s(\[{\"'“‘«—–/-])([^\s(\[{\"'“‘«—–/-]+)$")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")
_NUMBER_ALONE = re.compile(r"\s*[(\[]?(?:\d{1,3}|[ivx]{1,4}|[a-z])\s*", re.IGNORECASE)

_NEVER = """
mr mrs ms dr prof st mt gen col sgt capt lt rev hon pres gov sen rep vs cf e.g i.e eg ie ca approx fig figs eq eqs sec
ch vol no nos p pp ed eds viz resp dept mme mlle m hr fr bzw z.b d.h u.a sr sra ud
"""
_SELDOM = "etc inc ltd co corp jr bros al a.m p.m ph.d usw abs jan feb aug sept oct nov dec"
_STARTERS = """
a an the this that these those there here it he she they we you his her its their our my in on at by for from to with as
and but or so yet if when while after before since then however although because what who why where how no yes not
"""
NEVER_END = frozenset(_NEVER.split())
"""Abbreviations that something follows, without their last full stop."""
SELDOM_END = frozenset(_SELDOM.split())
"""Abbreviations that may also end a sentence: they do where the next word begins with a capital letter."""
STARTERS = frozenset(_STARTERS.split())
"""Words that begin a sentence and no name: behind initials (``in the U.S. He``, ``the U.S. Army``) only they tell."""


def sentence_ends(text: str) -> list[int]:
    """One past the last character of every sentence but the last one.

    Args:
        text: One paragraph.

    Example:
        >>> sentence_ends("It cost $3.50. “Why?” he said. 雨だ。行こう。")
        [14, 30, 34]
    """
    cased = any(letter.isupper() for letter in text)
    last = len(text.rstrip())
    ends: list[int] = []
    for end in _ends(text, cased):
        if end < last and text[ends[-1] if ends else 0 : end].strip():
            ends.append(end)
    return ends


def _ends(text: str, cased: bool) -> Iterator[int]:
    start = 0
    for found in _END.finditer(text):
        following = _NEXT.match(text, found.end())
        small = cased and following is not None and following[1][0].islower()
        if found["line"] is not None:
            ends = not small
        elif found["western"] is None:
            ends = not (found["shut"] and text[found.end() : found.end() + 1].isalnum())
        elif "!" in found["western"] or "?" in found["western"]:
            ends = not (small and found["closers"])
        else:
            ends = not small and not _goes_on(
                text[max(start, found.start() - 2 * _FAR) : found.start()], found["western"], following
            )
        if ends:
            yield found.end()
            start = found.end()


def _goes_on(before: str, sign: str, following: re.Match[str] | None) -> bool:
    """Whether a full stop belongs to what stands before it."""
    if sign != "." or following is None:
        return False
    if len(before) <= _FAR and _NUMBER_ALONE.fullmatch(before):
        return True
    last = _LAST_WORD.search(before)
    word = "" if last is None else last[1]
    if word.lower() in NEVER_END:
        return True
    if word.lower() in SELDOM_END:
        return not following[1][0].isupper()
    if _INITIALS.fullmatch(word) is None or not word[0].isupper() or word == "I":
        return False
    return "." not in word or following[1].lower() not in STARTERS
