"""From texts to `Inputs`: what a tokenizer makes of them, and which special tokens it adds.

A text that already begins and ends with what the tokenizer would add (a chat prompt with its ``<s>``) gets no second
one. The labels of the pieces are made in `contextmix.tracing.inputs.labels`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from contextmix.errors import BadInput, ContextMixError, TooLong
from contextmix.tokens.pieces import Tokens
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.labels import labelled
from contextmix.tracing.inputs.spelled import spelled

Text = str | tuple[str, str]
Read = Inputs | ContextMixError
"""A text as the model reads it, or why it cannot."""

_HALF = re.compile("[\ud800-\udfff]")
_MODEL_READS = ("input_ids", "token_type_ids")


OWN_MARKS = {"special_tokens": "those that the text holds; none were added"}
"""What a result notes where the text already held what the tokenizer would have added."""


def encode(
    tokenizer: Any,
    text: Text,
    limit: int | None,
    *,
    truncate: bool = False,
    add_special_tokens: bool | None = None,
    known: int | None = None,
) -> Inputs:
    """One text, or a pair of texts, as model inputs.

    Args:
        tokenizer: A Hugging Face tokenizer.
        text: A text, or a pair (premise, hypothesis).
        limit: The most tokens that the model reads; None for no limit.
        truncate: Cut longer texts instead of refusing them.
        add_special_tokens: Whether the tokenizer adds its special tokens; None: unless the text holds them.
        known: How many token ids the model knows; None if nothing says so.

    Returns:
        The inputs, special tokens included.

    Raises:
        BadInput: If the text is empty, leaves no token, or makes one that the model does not know; or if it holds some
            of the special tokens and not the others.
        TooLong: If it has more than ``limit`` tokens and ``truncate`` is off.
    """
    texts = _parts(text)
    encoded = tokenizer(*texts, **_options(limit, truncate, add_special_tokens))
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    if add_special_tokens is None and len(texts) == 1 and holds_marks(tokenizer, ids, special):
        found = encode(tokenizer, text, limit, truncate=truncate, add_special_tokens=False, known=known)
        return replace(found, notes=OWN_MARKS)
    special = _marks(tokenizer, ids, special, add_special_tokens)
    _refuse(text, special, limit)
    _refuse_unknown(tokenizer, ids, known)
    tensors = {name: torch.tensor(encoded[name]) for name in _MODEL_READS if name in encoded}
    if encoded.encodings:
        return Inputs(labelled(tokenizer, texts, encoded.encodings[0], special), tensors, len(ids))
    # A tokenizer written in Python knows neither words nor places in the text.
    pieces = spelled(tokenizer, tokenizer.convert_ids_to_tokens(ids), special)
    return Inputs(Tokens(pieces, tuple(ids), special), tensors, len(ids))


def encode_all(tokenizer: Any, texts: Sequence[Text], limit: int | None, **how: Any) -> list[Read]:
    """Many texts in one call of the tokenizer, each as `encode` reads it, or the refusal of one that cannot be read.

    Their labels, which take most of the time and of the memory, are made when `Inputs.labels` asks for them.

    Args:
        tokenizer: As for `encode`.
        texts: All of them single texts, or all of them pairs.
        limit: As for `encode`.
        how: ``truncate``, ``add_special_tokens`` and ``known``, as for `encode`.
    """
    try:
        return _together(tokenizer, texts, limit, **how)
    except Exception:  # whatever one text breaks: the others are read, and it says what is wrong with it
        return [_by_itself(tokenizer, text, limit, **how) for text in texts]


def _together(
    tokenizer: Any,
    texts: Sequence[Text],
    limit: int | None,
    *,
    truncate: bool = False,
    add_special_tokens: bool | None = None,
    known: int | None = None,
) -> list[Read]:
    columns = zip(*map(_parts, texts), strict=True)
    encoded = tokenizer(*map(list, columns), **_options(limit, truncate, add_special_tokens))
    found: list[Read] = []
    for place, (text, read) in enumerate(zip(texts, encoded.encodings, strict=True)):
        special = _marks(tokenizer, read.ids, read.special_tokens_mask, add_special_tokens)
        try:
            asks = add_special_tokens is None and isinstance(text, str)
            if asks and holds_marks(tokenizer, read.ids, special):
                found.append(encode(tokenizer, text, limit, truncate=truncate, known=known))
                continue
            _refuse(text, special, limit)
            _refuse_unknown(tokenizer, read.ids, known)
        except ContextMixError as refusal:
            found.append(refusal)
            continue
        tensors = {name: torch.tensor(encoded[name][place]) for name in _MODEL_READS if name in encoded}
        found.append(Inputs(None, tensors, len(read), _Labels(tokenizer, _parts(text), read, special)))
    return found


def _by_itself(tokenizer: Any, text: Text, limit: int | None, **how: Any) -> Read:
    try:
        return encode(tokenizer, text, limit, **how)
    except ContextMixError as refusal:
        return refusal
    except Exception as reason:  # of the tokenizer's own making, such as a TypeError for half a surrogate pair
        return BadInput(f"The tokenizer cannot read {text!r:.60}: {reason}.")


class _Labels:
    """The labels of a text that were not needed yet; see `Inputs.place`."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of

    def __call__(self, *_: Any) -> Tokens:
        return labelled(*self.made_of)


def _parts(text: Text) -> tuple[str, ...]:
    """The text, or the two of a pair; `BadInput` if there is nothing to read."""
    texts = (text,) if isinstance(text, str) else tuple(text)
    for part in texts:
        if not isinstance(part, str):
            raise BadInput(f"A text is a string or a pair of strings; got {type(part).__name__}.")
        if not part.strip():
            raise BadInput("The text is empty (or only spaces), so there is no token to explain.")
        if (found := _HALF.search(part)) is not None:
            raise BadInput(
                f"The text holds half a character (U+{ord(found[0]):04X}, at position {found.start()}), which no "
                "tokenizer reads: bytes that are not UTF-8 were taken for text, or an emoji was cut in two. Save the "
                "text as UTF-8, or leave that place out."
            )
    return texts


def _options(limit: int | None, truncate: bool, add: bool | None) -> dict[str, Any]:
    cut = {"truncation": True, "max_length": limit} if truncate and limit else {"verbose": False}
    return {"return_special_tokens_mask": True, **cut, **({"add_special_tokens": False} if add is False else {})}


def holds_marks(tokenizer: Any, ids: Sequence[int], added: Sequence[int]) -> bool:
    """Whether a text already begins and ends with the special tokens that were added around it.

    Args:
        tokenizer: Hugging Face's.
        ids: With the added tokens.
        added: Which of them were added.

    Raises:
        BadInput: If it holds those of one end only.
    """
    first = next((place for place, mark in enumerate(added) if not mark), len(ids))
    last = len(ids) - next((place for place, mark in enumerate(reversed(added)) if not mark), len(ids))
    front, own, back = (list(part) for part in (ids[:first], ids[first:last], ids[last:]))
    begins = bool(front) and own[: len(front)] == front
    ends = bool(back) and own[-len(back) :] == back
    if not begins and not ends:
        return False
    if begins == bool(front) and ends == bool(back):
        return True
    held, lacking = (front, back) if begins else (back, front)
    names = ["".join(tokenizer.convert_ids_to_tokens(part)) for part in (held, lacking)]
    raise BadInput(
        f"The text {'begins' if begins else 'ends'} with {names[0]}, which the tokenizer adds too, and lacks "
        f"{names[1]}, which it adds as well. Say add_special_tokens=True to have both added, so that one of them is "
        "there twice, or add_special_tokens=False to read the text as it is."
    )


def _marks(tokenizer: Any, ids: Sequence[int], added: Sequence[int], add: bool | None) -> tuple[bool, ...]:
    """Which tokens are special: those that were added; in a text that holds its own, all but masks and unknown ones."""
    if add is not False:
        return tuple(map(bool, added))
    special = set(tokenizer.all_special_ids) - {tokenizer.mask_token_id, tokenizer.unk_token_id}
    return tuple(number in special for number in ids)


def _refuse_unknown(tokenizer: Any, ids: Sequence[int], known: int | None) -> None:
    """A token that the model has no embedding of."""
    if known is None or max(ids) < known:
        return
    number = next(number for number in ids if number >= known)
    raise BadInput(
        f"The tokenizer writes {tokenizer.convert_ids_to_tokens(number)!r} as {number}, and the model knows the tokens "
        f"0 to {known - 1}. It was added to the tokenizer and the model was not resized "
        "(model.resize_token_embeddings, then training), or the tokenizer belongs to another model."
    )


def _refuse(text: Text, special: Sequence[int], limit: int | None) -> None:
    if limit is not None and len(special) > limit:
        raise TooLong(len(special), limit)
    if all(special):
        raise BadInput(f"The tokenizer leaves nothing of the text {text!r}, so there is no token to explain.")
