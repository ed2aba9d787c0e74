"""Where the tokens of an answer stand in its text, and where those of a prompt and its answer stand in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contextmix.errors import BadInput
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.sections import Span
from contextmix.tracing.inputs.texts import encode

_BEFORE = 16
"""Tokens of the prompt that are decoded with the answer: a decoder may treat what it begins with in its own way."""


def with_reply(
    tokenizer: Any, prompt: Tokens, labels: Tokens, reply: str | None, add_special_tokens: bool | None
) -> Tokens:
    """The labels of a prompt and an answer together, with the place of every token in their joined text.

    Args:
        tokenizer: A fast one.
        prompt: The prompt as it was encoded.
        labels: Of all tokens, ids included.
        reply: The text of the answer where it was given; None where the model wrote it.
        add_special_tokens: How the prompt was encoded.

    Returns:
        The labels, whose text is the prompt and the answer.

    Raises:
        BadInput: If the tokenizer does not tell where the tokens of a text stand.
    """
    if prompt.text is None or prompt.spans is None:
        raise BadInput(
            f"{type(tokenizer).__name__} does not tell where tokens stand in a text, so none can be given to a source. "
            "Load the model with a fast tokenizer."
        )
    assert labels.ids is not None
    new = labels.ids[len(prompt) :]
    if reply is None:
        reply, places = spoken(tokenizer, prompt.ids or (), new)
    else:
        both = encode(tokenizer, prompt.text + reply, None, add_special_tokens=add_special_tokens).tokens
        assert both is not None  # it was encoded so before
        shift = len(prompt.text)
        spans = (both.spans or ())[len(prompt) : len(prompt) + len(new)]
        places = tuple(None if span is None else (max(span[0] - shift, 0), span[1] - shift) for span in spans)
    moved = (None if place is None else (place[0] + len(prompt.text), place[1] + len(prompt.text)) for place in places)
    marks = set(tokenizer.all_special_ids)
    return Tokens(
        pieces=labels.pieces,
        ids=labels.ids,
        special=(*prompt.special, *(number in marks for number in new)),
        spans=(*prompt.spans, *moved),
        text=prompt.text + reply,
    )


def spoken(tokenizer: Any, prompt: Sequence[int], new: Sequence[int]) -> tuple[str, tuple[Span | None, ...]]:
    """The text of the tokens that a model wrote, and where each stands in it.

    The text is decoded anew with each token: what does not change any more when further ones follow is where it stands.
    Tokens that are some bytes of a character all stand where it stands; special ones stand nowhere.

    Args:
        tokenizer: Hugging Face's.
        prompt: The ids before.
        new: The ids that it wrote.
    """
    tail, marks = list(prompt[-_BEFORE:]), set(tokenizer.all_special_ids)
    base = _decoded(tokenizer, tail)
    whole = _decoded(tokenizer, [*tail, *new])
    if not whole.startswith(base):
        tail, base, whole = [], "", _decoded(tokenizer, new)
    text, borders = whole[len(base) :], [0]
    for count in range(1, len(new) + 1):
        so_far = _decoded(tokenizer, [*tail, *new[:count]])[len(base) :]
        borders.append(max(borders[-1], _common(so_far, text)))
    borders[-1] = len(text)
    places: list[Span | None] = []
    for number, start, stop in zip(new, borders[:-1], borders[1:], strict=True):
        end = min(max(stop, start + 1), len(text))
        places.append(None if number in marks or start >= end else (start, end))
    return text, tuple(places)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
