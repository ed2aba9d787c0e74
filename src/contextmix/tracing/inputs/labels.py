"""The labels of a text's tokens: pieces, words and places in the text, from the encoding of a fast tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from contextmix.tokens.pieces import Tokens
from contextmix.tracing.inputs.spelled import spelled

Span = tuple[int, int]

_BREAKS = tuple("\n\r\t\v\f\u0085\u2028\u2029")
"""Characters that end a word without being part of the next one."""


def labelled(tokenizer: Any, texts: tuple[str, ...], read: Any, special: Sequence[bool]) -> Tokens:
    """The labels.

    Args:
        tokenizer: A fast one.
        texts: The text, or the two of a pair.
        read: The encoding that it gave.
        special: Which tokens are special.
    """
    raw = tokenizer.convert_ids_to_tokens(read.ids)
    spans = _with_accents(read, texts)
    sources = [
        "" if which is None else texts[which][slice(*span)]
        for which, span in zip(read.sequence_ids, spans, strict=True)
    ]
    own_spans = [None if mark else span for span, mark in zip(spans, special, strict=True)]
    single = len(texts) == 1  # offsets of a pair count in two texts: a joint span would point at the wrong one
    placeless = [
        place for place, (source, mark) in enumerate(zip(sources, special, strict=True)) if not source and not mark
    ]
    unsaid = dict(
        zip(placeless, spelled(tokenizer, [raw[p] for p in placeless], [False] * len(placeless)), strict=True)
    )
    return Tokens(
        pieces=tuple(
            unsaid.get(place, _printable(piece, source))
            for place, (piece, source) in enumerate(zip(raw, sources, strict=True))
        ),
        ids=tuple(read.ids),
        special=tuple(special),
        words=_words(read, texts, spans, special),
        spans=tuple(own_spans) if single else None,
        text=texts[0] if single else None,
    )


def _with_accents(read: Any, texts: tuple[str, ...]) -> list[Span]:
    """Where each piece stands, with the accents that follow as characters of their own and belong to no piece."""
    found: list[Span] = []
    following = [*zip(read.sequence_ids[1:], read.offsets[1:], strict=True), (None, (0, 0))]
    for which, (start, end), (next_which, (next_start, _)) in zip(
        read.sequence_ids, read.offsets, following, strict=True
    ):
        if which is not None and start < end:
            stop = next_start if next_which == which else len(texts[which])
            while end < stop and _is_accent(texts[which][end]):
                end += 1
        found.append((start, end))
    return found


def _words(read: Any, texts: tuple[str, ...], spans: Sequence[Span], special: Sequence[bool]) -> tuple[int | None, ...]:
    """The word of each piece, numbered on into the second text of a pair, where the tokenizer starts again from 0.

    Tokenizers that do not cut at spaces first (Llama's) call the whole text one word, so a space begins a new one too,
    and so does what follows a line break; a space that is a piece by itself is part of the word behind it. An accent,
    or another sign that is written upon a letter, begins none, whatever the tokenizer says.
    """
    found: list[int | None] = []
    last: tuple[int, int, int] | None = None  # text, word in it, and where the piece ended
    count = -1
    for which, word, (start, end), mark in zip(read.sequence_ids, read.word_ids, spans, special, strict=True):
        if which is None or word is None or mark:
            found.append(None)
            last = None
            continue
        text = texts[which]
        if last is None or last[0] != which or _begins(text, last[2], start, end, last[1] == word):
            count += 1
        found.append(count)
        last = (which, word, end)
    return tuple(found)


def _begins(text: str, before: int, start: int, end: int, same: bool) -> bool:
    """Whether a piece begins a word: behind a space, with one, or where the tokenizer says so and no accent stands."""
    if _has_space(text[before:start] + text[start:end][:1]) or text[:before][-1:] in _BREAKS:
        return True
    return not same and not (start < end and _is_accent(text[start]))


def _has_space(text: str) -> bool:
    return any(character.isspace() for character in text)


def _is_accent(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _printable(piece: str, source: str) -> str:
    """A piece as people write it: the slice of the text where the tokenizer's own spelling is a code (``Ġfilm``)."""
    if not source or piece.startswith("##") or piece.lower() == source.lower():
        return piece
    if not piece.strip("▁") and not source.isspace():
        return piece  # the space that SentencePiece puts in front, which is not the letter after it
    return source
