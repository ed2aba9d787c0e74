"""Parts of speech: from a column of the data or from spaCy, laid over the pieces of a tokenizer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from contextmix.datasets.reading.source import Source
from contextmix.errors import BadInput, BadOption, suggestion
from contextmix.evidence.experiment import Setup

Span = tuple[int, int, str]
"""First character of a word, one past the last, and its part of speech."""
Tagging = Iterator[tuple[str | None, Sequence[Span] | BadInput | None]]
"""For each row its text (None for a pair or a row with a problem), and its words, or what is wrong with them."""

PUNCTUATION = "PUNCT"


def tagging(setup: Setup, source: Source) -> Tagging:
    """The words of each row with their parts of speech; None where the setup asks for none.

    Raises:
        BadOption: If there is no such column, spaCy or its pipeline is not installed, or both ways are asked for.
    """
    if setup.tags_field is not None and setup.tagger is not None:
        raise BadOption("Parts of speech are given in a column or found by spaCy: use tags_field or tagger, not both.")
    if setup.tags_field is not None:
        return _from_column(source, setup.tags_field)
    tag = None if setup.tagger is None else spacy_tagger(setup.tagger)
    return _from_texts(source, tag)


def _from_texts(source: Source, tag: Callable[[str], Sequence[Span]] | None) -> Tagging:
    for row in source.rows(0, source.count):
        text = row.text if isinstance(row.text, str) else None
        yield text, None if text is None or tag is None else tag(text)


def _from_column(source: Source, field: str) -> Tagging:
    for table in source.tables:
        if field not in table.columns:
            raise BadOption(f"{table.name} has no column {field!r}.{suggestion(field, table.columns)}")
    records = (record for table in source.tables for _, record in table.records(0, table.count, [field]))
    return (
        (text, None if text is None or not isinstance(record, Mapping) else _placed(text, record.get(field), row.where))
        for row, record in zip(source.rows(0, source.count), records, strict=False)
        for text in [row.text if isinstance(row.text, str) else None]
    )


def _placed(text: str, tags: Any, where: str) -> Sequence[Span] | BadInput:
    """One tag per word, words being what white space parts; a list, or a text with the tags parted by spaces."""
    found = tags.split() if isinstance(tags, str) else tags
    words = [match.span() for match in re.finditer(r"\S+", text)]
    if not isinstance(found, Sequence) or not all(isinstance(tag, str) for tag in found):
        return BadInput(f"{where} has {found!r:.40} for tags. Give a list of texts, one per word.")
    if len(found) != len(words):
        return BadInput(f"{where} has {len(found)} tags for {len(words)} words (parted by spaces). Give one per word.")
    return [(start, end, tag) for (start, end), tag in zip(words, found, strict=True)]


def spacy_tagger(name: str) -> Callable[[str], list[Span]]:
    """A function that finds the words of a text and their universal parts of speech.

    Args:
        name: A pipeline that spaCy can load, by name or folder.

    Raises:
        BadOption: If spaCy or the pipeline is not installed, or the pipeline does not tag.
    """
    try:
        import spacy
    except ImportError as missing:
        raise BadOption(
            'Finding parts of speech needs spaCy: pip install "contextmix[speech]". Or give them in a column of the '
            "data (tags_field, --tags-field)."
        ) from missing
    try:
        pipeline = spacy.load(name, exclude=["parser", "ner", "lemmatizer"])
    except OSError as missing:
        raise BadOption(f"spaCy finds no pipeline {name!r}. Install it: python -m spacy download {name}.") from missing
    if not any(word.pos_ for word in pipeline("They saw a film.")):
        raise BadOption(f"The pipeline {name!r} finds no parts of speech. Give one that does, such as en_core_web_sm.")
    return lambda text: [(word.idx, word.idx + len(word), word.pos_) for word in pipeline(text) if not word.is_space]


def tag_of(text: str, span: tuple[int, int], words: Sequence[Span]) -> str | None:
    """The part of speech of a piece: that of the word in which its first character stands.

    Example:
        >>> tag_of("a new film", (1, 5), [(0, 1, "DET"), (2, 5, "ADJ"), (6, 10, "NOUN")])
        'ADJ'
    """
    start, end = span
    first = start + len(text[start:end]) - len(text[start:end].lstrip())
    return next((tag for begin, stop, tag in words if begin <= first < stop), None)


def is_punctuation(piece: str) -> bool:
    """Whether a piece is nothing but punctuation, by the categories of Unicode; needs no tagger.

    Example:
        >>> is_punctuation("…"), is_punctuation("'s"), is_punctuation("##.")
        (True, False, True)
    """
    signs = piece.removeprefix("##").strip() if len(piece) > 2 else piece.strip()
    return bool(signs) and all(unicodedata.category(sign).startswith("P") for sign in signs)
