"""Tokens: what a model read, and how its pieces make words and text.

A row or column of a result is one token. This noun says how to print it, how to ask for it by text, and which pieces
are one word. It knows no tokenizer: whoever encodes a text fills it in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from numbers import Integral
from types import NoneType
from typing import Any

from contextmix.errors import AmbiguousToken, BadFile, BadInput, UnknownToken, WrongShape, refuse_kind
from contextmix.maths.shapes import cut
from contextmix.maths.whole import index_of, plain
from contextmix.tokens.places import Places, placed, places_from_dict, where

_VISIBLE = {"\n": "⏎", "\r": "␍", "\t": "⇥", "\x7f": "␡"}
_LINE, _LONGEST = 90, 20  # characters of a line of tokens, and of one token in it
_JOINERS = "\u200c\u200d"  # scripts and emoji need them, and they only act on their neighbours


@dataclass(frozen=True)
class Tokens:
    """The tokens of one input, in order.

    Example:
        >>> tokens = Tokens(("[CLS]", "un", "##real"), special=(True, False, False), words=(None, 0, 0))
        >>> len(tokens), tokens.position("##real"), tokens.position(-3)
        (3, 2, 0)
        >>> words, pieces_of = tokens.merged()
        >>> words.pieces, pieces_of
        (('[CLS]', 'unreal'), ((0,), (1, 2)))
    """

    pieces: tuple[str, ...]
    """Each token in printable form, as the tokenizer cut it."""
    ids: tuple[int, ...] | None = None
    """Numbers in the model's vocabulary; None for merged words and inputs that are not text."""
    special: tuple[bool, ...] = ()
    """Whether the tokenizer added the token (``[CLS]``, ``</s>``); left out, none is special."""
    words: tuple[int | None, ...] | None = None
    """The word each piece belongs to: neighbours with the same number are one word. None: belongs to no word."""
    spans: tuple[tuple[int, int] | None, ...] | None = None
    """Where each piece stands in `text`: first character, and one past the last."""
    text: str | None = None
    """The text that was encoded."""
    places: Places | None = None
    """Where the tokens of an image or a sound stand."""

    def __post_init__(self) -> None:
        self._set("pieces", _entries("pieces", self.pieces, str))
        self._set("special", _entries("special", self.special, int) or (False,) * len(self.pieces))
        self._set("ids", None if self.ids is None else _entries("ids", self.ids, Integral))
        self._set("words", None if self.words is None else _entries("words", self.words, Integral, NoneType))
        spans = None if self.spans is None else tuple(None if span is None else tuple(span) for span in self.spans)
        self._set("spans", spans)
        self._refuse_misfits()

    def __repr__(self) -> str:
        return f"<Tokens {len(self)}: {self.glimpse()}>"

    def __len__(self) -> int:
        return len(self.pieces)

    def glimpse(self) -> str:
        r"""The first tokens, as many as fit a line; safe to print.

        Example:
            >>> Tokens(("a", "very", "\n")).glimpse()
            'a very ⏎'
        """
        shown = [cut(printable(cut(piece, _LONGEST)), _LONGEST) for piece in self.pieces[:_LINE]]
        told = " ".join(shown)
        return told if len(told) <= _LINE and len(shown) == len(self) else cut(told, _LINE - 2).rstrip("…") + " …"

    def position(self, token: int | str) -> int:
        """Find a token by its position or its text.

        A text is looked up as it is printed, then without surrounding spaces, then without regard to case.

        Args:
            token: A position (negative ones count from the end) or a piece such as ``"film"`` or ``"##ing"``.

        Returns:
            The position, from 0 to ``len(self) - 1``.

        Raises:
            UnknownToken: If the input has no such token; near misses are suggested.
            AmbiguousToken: If the text occurs more than once.

        Example:
            >>> Tokens(("The", "film")).position("the")
            0
        """
        if not isinstance(token, str):
            return self._checked(index_of("The position of a token", token))
        for view in _VIEWS:
            found = [position for position, piece in enumerate(self.pieces) if view(piece) == view(token)]
            if len(found) > 1:
                raise AmbiguousToken(token, found)
            if found:
                return found[0]
        raise UnknownToken(token, self.pieces)

    def part(self, rows: slice) -> Tokens:
        """Some of the tokens, of the same text.

        Example:
            >>> Tokens(("a", "good", "film")).part(slice(1, None)).pieces
            ('good', 'film')
        """
        refuse_kind("Tokens.part: rows", rows, slice)
        ids, words, spans = (None if labels is None else labels[rows] for labels in (self.ids, self.words, self.spans))
        places = None if self.places is None else placed(self.places, where(self.places)[rows])
        return Tokens(self.pieces[rows], ids, self.special[rows], words, spans, self.text, places)  # type: ignore[arg-type]

    def merged(self) -> tuple[Tokens, tuple[tuple[int, ...], ...]]:
        """Merge pieces into words; special tokens stay alone.

        Returns:
            The words as tokens, and for each word the positions of its pieces. A word is labelled with its slice of the
            text where the spans are known, and otherwise with its pieces joined.

        Raises:
            BadInput: If the word of each piece is unknown.

        Example:
            >>> Tokens(("gl", "##ob", "!"), words=(0, 0, 1)).merged()[0].pieces
            ('glob', '!')
        """
        if self.words is None:
            raise BadInput(
                f"Words were asked for, but these {len(self)} tokens do not say which word each belongs to (their "
                "tokenizer tells no word boundaries). Guessing could mix up rows. Use the tokens as they are, or "
                "give `words`."
            )
        groups = self._word_groups(self.words)
        merged = Tokens(
            pieces=tuple(self._label(group) for group in groups),
            special=tuple(self.special[group[0]] for group in groups),
            words=tuple(self.words[group[0]] for group in groups),
            spans=None if self.spans is None else tuple(self._span(group) for group in groups),
            text=self.text,
        )
        return merged, groups

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; places only where there are some.

        Example:
            >>> Tokens(("a",), ids=(7,)).to_dict()["ids"]
            [7]
        """
        places = {} if self.places is None else {"places": self.places.to_dict()}
        return {
            "pieces": list(self.pieces),
            "ids": None if self.ids is None else list(self.ids),
            "special": list(self.special),
            "words": None if self.words is None else list(self.words),
            "spans": None if self.spans is None else [None if span is None else list(span) for span in self.spans],
            "text": self.text,
            **places,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Tokens:
        """The inverse of `to_dict`.

        Args:
            fields: What `to_dict` gave, also after a trip through JSON.

        Raises:
            BadFile: If a field is missing or holds values of another type.

        Example:
            >>> Tokens.from_dict(Tokens(("a", "b")).to_dict()).pieces
            ('a', 'b')
        """
        if not isinstance(fields, Mapping):
            raise BadFile(f"Tokens are a mapping of fields, and this is {type(fields).__name__}.")
        for name, fits in _FIELDS.items():
            if name not in fields or not fits(fields[name]):
                found = f"{fields[name]!r:.60}" if name in fields else "nothing"
                raise BadFile(f"The tokens need a field {name!r} of the right type, and it holds {found}.")
        places = None if fields.get("places") is None else places_from_dict(fields["places"])
        return cls(**{name: fields[name] for name in _FIELDS}, places=places)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _refuse_misfits(self) -> None:
        for name in ("ids", "special", "words", "spans", "places"):
            labels = getattr(self, name)
            if labels is not None and len(labels) != len(self.pieces):
                raise WrongShape(
                    f"{len(self.pieces)} tokens came with {len(labels)} {name}. Each token needs one, or labels "
                    f"would shift to a neighbour. Give one entry per token, or leave out {name}."
                )
        for span in self.spans or ():
            last = span[1] if self.text is None and span else len(self.text or "")
            if span is not None and not 0 <= span[0] <= span[1] <= last:
                raise WrongShape(
                    f"The span {span} does not lie within the text of {last} characters, so the token would be shown "
                    "as other words. Give spans of this very text, or None for tokens that are not in it."
                )

    def _checked(self, position: int) -> int:
        if not -len(self) <= position < len(self):
            raise UnknownToken(position, self.pieces)
        return position % len(self)

    def _word_groups(self, words: Sequence[int | None]) -> tuple[tuple[int, ...], ...]:
        def word_of(position: int) -> tuple[str, int]:
            word = words[position]
            return ("alone", position) if word is None or self.special[position] else ("word", word)

        return tuple(tuple(group) for _, group in groupby(range(len(self)), key=word_of))

    def _span(self, group: Sequence[int]) -> tuple[int, int] | None:
        first, last = (self.spans[group[0]], self.spans[group[-1]]) if self.spans else (None, None)
        return (first[0], last[1]) if first and last and first[0] <= last[1] else None

    def _label(self, group: Sequence[int]) -> str:
        span = None if self.special[group[0]] else self._span(group)
        if span and self.text and (label := self.text[slice(*span)].strip()):
            return label
        return self.pieces[group[0]] + "".join(self.pieces[position].removeprefix("##") for position in group[1:])


def printable(text: str) -> str:
    r"""Make a token safe and visible: no character may move the cursor, reorder a line, or disappear.

    Args:
        text: Any text; what it holds is data, never an instruction to a terminal.

    Returns:
        The text with control, bidirectional and broken characters replaced by signs; the empty text becomes ``∅``.

    Example:
        >>> printable("a\n"), printable(" "), printable("\x1b[2J")
        ('a⏎', '␣', '␛[2J')
    """
    blank = text.isspace() or not text.strip(_JOINERS)
    return "".join(_visible(character, blank) for character in text) or "∅"


def _visible(character: str, blank: bool) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    if character < " ":
        return chr(0x2400 + ord(character))
    category = unicodedata.category(character)
    if blank and category == "Zs":
        return "␣"
    hidden = category in ("Cc", "Cf", "Cs", "Zl", "Zp") and (blank or character not in _JOINERS)
    return f"⟨U+{ord(character):04X}⟩" if hidden else character


def _entries(name: str, values: Any, *kinds: type) -> tuple[Any, ...]:
    """The labels of all tokens; a wrong call says what was given."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise TypeError(f"{name} of Tokens has one entry per token; got {type(values).__name__}.")
    found = tuple(values)
    own = (plain(one) if getattr(one, "shape", None) == () else one for one in found)
    wrong = next((one for one in own if not isinstance(one, kinds)), None)
    if wrong is not None:
        raise TypeError(f"An entry of {name} of Tokens cannot be {type(wrong).__name__}.")
    return found


_VIEWS: tuple[Callable[[str], str], ...] = (str, str.strip, lambda piece: piece.strip().casefold())


def _is_list(entry: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(entry, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return _is_list(_is_number)(value) and len(value) == 2


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "pieces": _is_list(lambda value: isinstance(value, str)),
    "ids": lambda value: value is None or _is_list(_is_number)(value),
    "special": _is_list(lambda value: isinstance(value, bool)),
    "words": lambda value: value is None or _is_list(lambda word: word is None or _is_number(word))(value),
    "spans": lambda value: value is None or _is_list(lambda span: span is None or _is_pair(span))(value),
    "text": lambda value: value is None or isinstance(value, str),
}
