"""Where tokens that a tool names by their texts stand in the text that it read, and what other tokens share with them.

Tools cut texts in their own way: into words, or pieces of another tokenizer. Characters are what all of them share.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contextmix.errors import BadInput
from contextmix.tokens.pieces import Tokens

_SIGNS = {"Ġ": " ", "▁": " ", "Ċ": "\n", "ĉ": "\t"}
"""What vocabularies write for blanks."""
_ADDED = re.compile(r"\[[A-Z]+\]|<[^<>]+>|")


def located(pieces: Sequence[str], text: str) -> Tokens:
    """Tokens with their places in a text, each looked up behind the one before.

    Signs of vocabularies (``##``, ``Ġ``, ``▁``) count as what they stand for, and upper and lower case as the same.
    What the text does not hold and looks like ``[CLS]`` or ``</s>`` is special.

    Raises:
        BadInput: If another token is not there.

    Example:
        >>> located(["[CLS]", "a", "fi", "##lm"], "A film").spans
        (None, (0, 1), (2, 4), (4, 6))
    """
    lower = text.lower() if len(text.lower()) == len(text) else text
    spans: list[tuple[int, int] | None] = []
    end = 0
    for piece in pieces:
        bare = _bare(piece)
        start = lower.find(bare.lower() if lower is not text else bare, end) if bare else -1
        if start < 0 and not _ADDED.fullmatch(bare):
            raise BadInput(
                f"The token {piece!r:.60} does not stand in the text behind character {end}: {text[end:]!r:.60}. Its "
                "score would go to other words: give the text that the tool itself read, with its tokens in order."
            )
        spans.append(None if start < 0 else (start, start + len(bare)))
        end = end if start < 0 else start + len(bare)
    return Tokens(tuple(map(str, pieces)), special=tuple(one is None for one in spans), spans=tuple(spans), text=text)


def _bare(piece: str) -> str:
    for sign, meant in _SIGNS.items():
        piece = piece.replace(sign, meant)
    return piece.removeprefix("##").strip()


def given_to(values: NDArray[np.float64], tokens: Tokens, others: Tokens) -> NDArray[np.float64]:
    """Scores of tokens, given to other tokens of the same text, by the characters that they share.

    What a token has is divided among those that it overlaps, so the sum stays.

    Args:
        values: (token,).
        tokens: Theirs.
        others: Those that are to have them.

    Returns:
        (other,); zero where no token overlaps.

    Raises:
        BadInput: If characters of either are unknown, or a score would be lost.

    Example:
        >>> words = located(["real", "film"], "real film")
        >>> given_to(np.array([1.0, 4.0]), words, located(["re", "al", "film"], "real film")).tolist()
        [0.5, 0.5, 4.0]
    """
    if tokens.spans is None or others.spans is None or tokens.text != others.text:
        raise BadInput(
            f"Scores of the tokens {tokens.glimpse()} cannot be given to the tokens {others.glimpse()}: nothing says "
            "that they are of the same text, and where they stand in it. Give contextmix.scores the text."
        )
    found = np.zeros(len(others))
    for value, span, piece in zip(values, tokens.spans, tokens.pieces, strict=True):
        shared = np.array([_shared(span, other) for other in others.spans], dtype=np.float64)
        if shared.sum() == 0 and value != 0:
            raise BadInput(
                f"The token {piece!r:.60} has the score {value:.3g}, and none of the model's tokens shares a character "
                f"with it ({others.glimpse()}). The score would be lost: leave the token out, or give it 0."
            )
        found += value * shared / max(shared.sum(), 1.0)
    return found


def _shared(one: tuple[int, int] | None, other: tuple[int, int] | None) -> int:
    return 0 if one is None or other is None else max(0, min(one[1], other[1]) - max(one[0], other[0]))
