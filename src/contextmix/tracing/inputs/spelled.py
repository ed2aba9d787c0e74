"""What a token is called: never by another character than its text's, also where a token is a part of a character."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

BROKEN = "\ufffd"
_LONGEST = 4
"""Bytes of the longest character."""


def spelled(tokenizer: Any, pieces: Sequence[str], marks: Sequence[bool]) -> tuple[str, ...]:
    """Pieces of a tokenizer as people write them, where there is no text to take slices of.

    Args:
        tokenizer: Hugging Face's.
        pieces: As the tokenizer spells them.
        marks: Which of them are no text, such as ``</s>``.
    """
    return whole(
        tokenizer, pieces, [one if mark else _alone(tokenizer, one) for one, mark in zip(pieces, marks, strict=True)]
    )


def whole(tokenizer: Any, pieces: Sequence[str], labels: Sequence[str | None]) -> tuple[str, ...]:
    """Labels, with those filled in that are None: pieces that are some bytes of a character.

    Neighbours that make one character together all bear it; bytes that make none are shown as numbers.

    Example:
        >>> class Bytes:
        ...     def convert_tokens_to_string(self, pieces):
        ...         return bytes(map(ord, pieces)).decode(errors="replace")
        >>> whole(Bytes(), ["n", "Ã", "©", "Ã"], ["n", None, None, None])
        ('n', 'é', 'é', '<0xC3>')
    """
    found: list[str] = []
    while len(found) < len(pieces):
        place = len(found)
        label = labels[place]
        found += [label] if label is not None else _joined(tokenizer, pieces, labels, place)
    return tuple(found)


def is_broken(text: str) -> bool:
    """Whether what a tokenizer makes of a piece is no whole character."""
    return not text or BROKEN in text


def byte_name(piece: str) -> str:
    """A piece that is no character by itself: its bytes, or as the tokenizer spells it.

    Example:
        >>> byte_name("Ã"), byte_name("<0xE6>"), byte_name("▁")
        ('<0xC3>', '<0xE6>', '▁')
    """
    if not piece.isascii() or len(piece) == 1:
        codes = [_byte_codes().get(character, ord(character)) for character in piece]
        if all(code < 256 for code in codes):
            return "".join(f"<0x{code:02X}>" for code in codes)
    return piece


def text_of(tokenizer: Any, pieces: Sequence[str]) -> str:
    """What a tokenizer makes of some pieces; empty where it makes no text of them."""
    found = tokenizer.convert_tokens_to_string(list(pieces))
    return found if isinstance(found, str) else ""  # CTC gives a table


def _alone(tokenizer: Any, piece: str) -> str | None:
    """A piece by itself; None if it is a part of a character."""
    if piece.startswith("##") or not piece.strip("▁"):
        return piece
    text = text_of(tokenizer, [piece])
    return None if is_broken(text) else text.strip() or text


def _joined(tokenizer: Any, pieces: Sequence[str], labels: Sequence[str | None], place: int) -> list[str]:
    for count in range(2, _LONGEST + 1):
        if place + count > len(pieces) or labels[place + count - 1] is not None:
            break
        text = text_of(tokenizer, pieces[place : place + count])
        if not is_broken(text):
            return [text] * count
    return [byte_name(pieces[place])]


@cache
def _byte_codes() -> dict[str, int]:
    """The letters in which byte-level tokenizers write bytes: those that print stand for themselves."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [code for code in range(256) if code not in printing]
    return {chr(code): code for code in printing} | {chr(256 + number): code for number, code in enumerate(others)}
