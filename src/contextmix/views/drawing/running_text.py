"""Tokens as they read in running text: with the spaces that the text has, and no others."""

from __future__ import annotations

from contextmix.tokens.pieces import Tokens, printable


def spelled(tokens: Tokens) -> list[tuple[str, str]]:
    """Each token as it reads in running text: the space before it, and its letters.

    Example:
        >>> spelled(Tokens(("good", "film", "##s", ".")))
        [('', 'good'), (' ', 'film'), ('', 's'), (' ', '.')]
    """
    written = []
    for position, piece in enumerate(tokens.pieces):
        apart = position == 0 or _space_before(tokens, position)
        label = piece.strip() or piece if apart else piece.removeprefix("##")
        written.append((" " if apart and position else "", printable(label)))
    return written


def _space_before(tokens: Tokens, position: int) -> bool:
    piece = tokens.pieces[position]
    if tokens.special[position - 1] or tokens.special[position] or piece[:1].isspace():
        return True
    before, here = tokens.spans[position - 1 : position + 1] if tokens.spans else (None, None)
    if before and here and before[1] <= here[0]:
        return here[0] > before[1] or bool(tokens.text and tokens.text[here[0] : here[0] + 1].isspace())
    if piece.startswith("##"):
        return False
    if tokens.words is not None and tokens.words[position] is not None:
        return tokens.words[position] != tokens.words[position - 1]
    return not any(each.startswith(" ") for each in tokens.pieces)
