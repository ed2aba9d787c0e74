"""From texts to `Inputs`: what a tokenizer makes of them, and the labels of its pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from contextmix.errors import BadInput, ContextMixError, TooLong
from contextmix.tokens.pieces import Tokens
from contextmix.tracing.inputs.encode import Inputs

Text = str | tuple[str, str]
Read = Inputs | ContextMixError
"""A text as the model reads it, or why it cannot."""

_HALF = re.compile("[\ud800-\udfff]")
_MODEL_READS = ("input_ids", "token_type_ids")


def encode(tokenizer: Any, text: Text, limit: int | None, *, truncate: bool = False) -> Inputs:
    """One text, or a pair of texts, as model inputs.

    Args:
        tokenizer: A Hugging Face tokenizer.
        text: A text, or a pair (premise, hypothesis).
        limit: The most tokens that the model reads; None for no limit.
        truncate: Cut longer texts instead of refusing them.

    Returns:
        The inputs, special tokens included.

    Raises:
        BadInput: If the text is empty or leaves no token.
        TooLong: If it has more than ``limit`` tokens and ``truncate`` is off.
    """
    texts = _parts(text)
    encoded = tokenizer(*texts, **_options(limit, truncate))
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    _refuse(text, special, limit)
    tensors = {name: torch.tensor(encoded[name]) for name in _MODEL_READS if name in encoded}
    if encoded.encodings:
        return Inputs(_tokens(tokenizer, texts, encoded.encodings[0]), tensors, len(ids))
    # A tokenizer written in Python knows neither words nor places in the text.
    pieces = tokenizer.convert_ids_to_tokens(ids)
    return Inputs(Tokens(tuple(pieces), tuple(ids), tuple(map(bool, special))), tensors, len(ids))


def encode_all(tokenizer: Any, texts: Sequence[Text], limit: int | None, *, truncate: bool = False) -> list[Read]:
    """Many texts in one call of the tokenizer, each as `encode` reads it, or the refusal of one that cannot be read.

    Their labels, which take most of the time and of the memory, are made when `Inputs.labels` asks for them.

    Args:
        tokenizer: As for `encode`.
        texts: All of them single texts, or all of them pairs.
        limit: As for `encode`.
        truncate: As for `encode`.
    """
    try:
        return _together(tokenizer, texts, limit, truncate)
    except Exception:  # whatever one text breaks: the others are read, and it says what is wrong with it
        return [_alone(tokenizer, text, limit, truncate) for text in texts]


def _together(tokenizer: Any, texts: Sequence[Text], limit: int | None, truncate: bool) -> list[Read]:
    columns = zip(*map(_parts, texts), strict=True)
    encoded = tokenizer(*map(list, columns), **_options(limit, truncate))
    found: list[Read] = []
    for place, (text, read) in enumerate(zip(texts, encoded.encodings, strict=True)):
        try:
            _refuse(text, read.special_tokens_mask, limit)
        except ContextMixError as refusal:
            found.append(refusal)
            continue
        tensors = {name: torch.tensor(encoded[name][place]) for name in _MODEL_READS if name in encoded}
        found.append(Inputs(None, tensors, len(read), _Labels(tokenizer, _parts(text), read)))
    return found


def _alone(tokenizer: Any, text: Text, limit: int | None, truncate: bool) -> Read:
    try:
        return encode(tokenizer, text, limit, truncate=truncate)
    except ContextMixError as refusal:
        return refusal
    except Exception as reason:  # of the tokenizer's own making, such as a TypeError for half a surrogate pair
        return BadInput(f"The tokenizer cannot read {text!r:.60}: {reason}.")


class _Labels:
    """The labels of a text that were not needed yet; see `Inputs.place`."""

    def __init__(self, tokenizer: Any, texts: tuple[str, ...], read: Any) -> None:
        self.made_of = tokenizer, texts, read

    def __call__(self, *_: Any) -> Tokens:
        return _tokens(*self.made_of)


def _parts(text: Text) -> tuple[str, ...]:
    """The text, or the two of a pair; `BadInput` if there is nothing to read."""
    texts = (text,) if isinstance(text, str) else tuple(text)
    for part in texts:
        if not isinstance(part, str):
            raise BadInput(f"A text is a string or a pair of strings; got {type(part).__name__}.")
        if not part.strip():
            raise BadInput("The text is empty (or only spaces), so there is no token to attribute anything to.")
        if (found := _HALF.search(part)) is not None:
            raise BadInput(
                f"The text holds half a character (U+{ord(found[0]):04X}, at position {found.start()}), which no "
                "tokenizer reads: bytes that are not UTF-8 were taken for text, or an emoji was cut in two. Save the "
                "text as UTF-8, or leave that place out."
            )
    return texts


def _options(limit: int | None, truncate: bool) -> dict[str, Any]:
    cut = {"truncation": True, "max_length": limit} if truncate and limit else {"verbose": False}
    return {"return_special_tokens_mask": True, **cut}


def _refuse(text: Text, special: Sequence[int], limit: int | None) -> None:
    if limit is not None and len(special) > limit:
        raise TooLong(len(special), limit)
    if all(special):
        raise BadInput(
            f"The tokenizer leaves nothing of the text {text!r}: there is no token to attribute anything to."
        )


def _tokens(tokenizer: Any, texts: tuple[str, ...], read: Any) -> Tokens:
    """The labels, from the encoding that a fast tokenizer gives."""
    raw = tokenizer.convert_ids_to_tokens(read.ids)
    places = zip(read.sequence_ids, read.offsets, strict=True)
    sources = ["" if which is None else texts[which][slice(*span)] for which, span in places]
    own_spans = [None if mark else span for span, mark in zip(read.offsets, read.special_tokens_mask, strict=True)]
    single = len(texts) == 1  # offsets of a pair count in two texts: a joint span would point at the wrong one
    return Tokens(
        pieces=tuple(map(_printable, raw, sources)),
        ids=tuple(read.ids),
        special=tuple(map(bool, read.special_tokens_mask)),
        words=_words(read, texts),
        spans=tuple(own_spans) if single else None,
        text=texts[0] if single else None,
    )


def _words(read: Any, texts: tuple[str, ...]) -> tuple[int | None, ...]:
    """The word of each piece, numbered on into the second text of a pair, where the tokenizer starts again from 0.

    Tokenizers that do not cut at spaces first (Llama's) call the whole text one word, so a space begins a new one too.
    """
    found: list[int | None] = []
    last: tuple[int, int, int] | None = None  # text, word in it, and where the piece ended
    count = -1
    places = zip(read.sequence_ids, read.word_ids, read.offsets, strict=True)
    for which, word, (start, end) in places:
        if which is None or word is None:
            found.append(None)
            last = None
            continue
        text = texts[which]
        if last is None or last[:2] != (which, word) or _has_space(text[last[2] : start] + text[start:end][:1]):
            count += 1
        found.append(count)
        last = (which, word, end)
    return tuple(found)


def _has_space(text: str) -> bool:
    return any(character.isspace() for character in text)


def _printable(piece: str, source: str) -> str:
    """A piece as people write it: the slice of the text where the tokenizer's own spelling is a code (``Ġfilm``)."""
    if not source or piece.startswith("##") or piece.lower() == source.lower():
        return piece
    return source
