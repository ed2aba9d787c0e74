"""Passages: the texts that an answer may draw from, and where each stands in the prompt that a model read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contextmix.errors import BadFile, BadInput, refuse_kinds
from contextmix.maths.whole import whole_number
from contextmix.tokens.sections import By, Section, Span, cut_text, plain_cut


@dataclass(frozen=True)
class Passage:
    """A text as somebody gave it, and its place in a prompt.

    Attributes:
        text: The whole text.
        offset: How far its characters are moved in the prompt: ``prompt[offset + i] == text[i]`` for all that the
            prompt holds. None if it holds nothing of it.
        kept: How many characters from the first the prompt holds; None for all.
        name: What it is called, such as a file; may be empty.

    Example:
        >>> Passage("A red ball.", offset=5).place((2, 5))
        (7, 10)
    """

    text: str
    offset: int | None
    kept: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        refuse_kinds(self, text=str, offset=(int, type(None)), kept=(int, type(None)), name=str)
        if self.kept is not None and not 0 <= self.kept <= len(self.text):
            raise BadInput(f"{self.kept} characters of a text of {len(self.text)} cannot be kept.")

    @property
    def length(self) -> int:
        """How many characters of it the prompt holds."""
        return 0 if self.offset is None else len(self.text) if self.kept is None else self.kept

    def place(self, span: Span) -> Span:
        """Where a span of the text stands in the prompt.

        Args:
            span: Within the part that the prompt holds.
        """
        assert self.offset is not None
        return span[0] + self.offset, span[1] + self.offset

    def holds(self, section: Section) -> bool:
        """Whether the prompt holds a section of it."""
        return section.stop <= self.length

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {"text": self.text, "offset": self.offset, "kept": self.kept, "name": self.name}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Passage:
        """The inverse of `to_dict`; raises `BadFile` if a field is missing or of another type."""
        kinds = {"text": str, "offset": int | None, "kept": int | None, "name": str}
        for name, kind in kinds.items():
            if not isinstance(fields, Mapping) or name not in fields or not isinstance(fields[name], kind):
                raise BadFile(f"A passage needs a field {name!r} of the right type.")
        return cls(**{name: fields[name] for name in kinds})


def cut_passages(
    passages: Sequence[Passage], by: By, pieces: Sequence[Span | None] = ()
) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    """The sections of several texts: those that the prompt holds, and those that were left out of it.

    A section never crosses from one text into another, so every sentence is part of one document.

    Args:
        passages: In the order of the prompt.
        by: How each is cut; spans are of characters of the only text, or ``(text, start, stop)`` of several.
        pieces: Where each token of the prompt stands in it.

    Raises:
        BadInput: If spans do not fit the texts, or the prompt holds no section to its end.
        BadOption: If there is no such way to cut.

    Example:
        >>> cut_passages([Passage("One. Two.", 0), Passage("Three.", 11)], "sentence")[0][2]
        Section(text='Three.', start=0, stop=6, document=1)
    """
    by = plain_cut(by)
    named = [by] * len(passages) if isinstance(by, str | int) else _by_text(by, passages)
    found: list[Section] = []
    for number, (one, own) in enumerate(zip(passages, named, strict=True)):
        tokens = [] if one.offset is None else _inside(one, pieces)
        found += cut_text(one.text, own, tokens, document=number)
    if not found:
        raise BadInput("The texts hold no section, so there is no source. Give a text, or another way to cut it.")
    kept = tuple(each for each in found if passages[each.document].holds(each))
    if not kept:
        raise BadInput(
            f"The prompt holds none of the {len(found)} sources to the end, since the texts were cut to fit it. Cut "
            "them into shorter sources, such as sentences."
        )
    return kept, tuple(each for each in found if not passages[each.document].holds(each))


def _inside(one: Passage, pieces: Sequence[Span | None]) -> list[Span | None]:
    """The tokens of a passage, as places in its own text."""
    assert one.offset is not None
    first, last = one.place((0, one.length))
    return [
        (max(span[0], first) - one.offset, min(span[1], last) - one.offset)
        for span in pieces
        if span is not None and span[0] < last and span[1] > first
    ]


def _by_text(spans: Sequence[Any], passages: Sequence[Passage]) -> list[list[Any]]:
    """Spans under the text that each is of."""
    found: list[list[Any]] = [[] for _ in passages]
    for one in spans if passages else ():
        several = isinstance(one, Sequence) and len(one) == 3 and whole_number(one[0]) in range(len(passages))
        if not several and len(passages) > 1:
            raise BadInput(
                f"There are {len(passages)} texts, and the source {one!r:.60} does not say which it is a span of. Give "
                f"(text, first character, one past the last), with texts counted from 0 to {len(passages) - 1}."
            )
        found[one[0] if several else 0].append(one[1:] if several else one)
    return found
