"""What a user gives, as `Inputs`: a text, a pair of texts, a chat, an image, a sound, model inputs, or a list of these.

A string is one text; ``{"text": …, "text_pair": …}`` one pair; ``{"image": …, "text": …}`` one prompt with an image;
``[{"role": …, "content": …}, …]`` one chat. Any other list or tuple holds several sources, and two texts together
inside of it are a pair. A tuple of two texts by itself has two readings and is refused with both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from contextmix.errors import BadInput
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.beside import used, without_idle_types
from contextmix.tracing.inputs.chats import chat_text, is_chat
from contextmix.tracing.inputs.encode import Inputs, split
from contextmix.tracing.inputs.imaged import refuse_marks_alone, with_images
from contextmix.tracing.inputs.media import is_one_medium, kind_of, read_media, refusals
from contextmix.tracing.inputs.packed import is_one_in_a_row, read_packed
from contextmix.tracing.inputs.pictured import asked_of, is_pictured, read_pictured
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.texts import Text, encode

Source = Text | Mapping[str, Any] | Any
"""What can be explained: a text, a pair of texts, an image, a sound (`contextmix.tokens.media`), or model inputs."""


@dataclass(frozen=True)
class Readers:
    """A model and what reads for it.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer, or None.
        processor: Its image processor or feature extractor, or None.
        limit: The most tokens that it reads; None for no limit.
        anatomy: Gives where its parts are, for the places of images in prompts.
    """

    model: PreTrainedModel
    tokenizer: Any
    processor: Any
    limit: int | None
    anatomy: Callable[[], Anatomy] | None = None


def read_sources(
    readers: Readers,
    source: Any,
    sampling_rate: int | None,
    *,
    truncate: bool,
    add_special_tokens: bool | None = None,
) -> list[Inputs]:
    """One source, or a list of them, as single sequences.

    Args:
        readers: The model and what reads for it.
        source: What was given.
        sampling_rate: Samples per second of a sound.
        truncate: Cut texts and sounds that are too long instead of refusing them.
        add_special_tokens: See `contextmix.tracing.inputs.texts.encode`.

    Raises:
        BadInput: If a text or the list is empty, there is no tokenizer, the model does not read such a thing, or two
            things may be meant.
        TooLong: If a sequence is longer than the model reads.
    """
    try:
        found = _read(readers, source, sampling_rate, truncate=truncate, add_special_tokens=add_special_tokens)
        return [_placed(readers, refuse_marks_alone(readers.model, one)) for one in found]
    except RecursionError as reason:
        raise BadInput("The list contains itself, or is nested too deeply. Give a flat list of sources.") from reason


def _placed(readers: Readers, one: Inputs) -> Inputs:
    """A prompt with images whose places are known: of all else they are found after the run, or never."""
    if one.tokens is None or one.place is None or readers.anatomy is None:
        return one
    with refusals(readers.model, one.tensors):
        tokens = one.place(readers.model, readers.anatomy(), one.tensors, one.length)
    return replace(one, tokens=tokens, place=None)


def _read(
    readers: Readers, source: Any, sampling_rate: int | None, *, truncate: bool, add_special_tokens: bool | None
) -> list[Inputs]:
    if kind_of(readers.model) is None:
        refuse_two_readings(source)
    read = partial(_read, readers, truncate=truncate, add_special_tokens=add_special_tokens)
    pictured = asked_of(source)
    if pictured is not None:
        own = readers.processor
        return [read_pictured(readers.model, own, pictured, readers.limit, add_special_tokens)]
    if is_chat(source):
        text = chat_text(readers.model, readers.tokenizer, source)
        return [_text(readers, text, truncate, bool(add_special_tokens))]
    if is_pair(source) and kind_of(readers.model) is None:
        return [_text(readers, (source["text"], source["text_pair"]), truncate, add_special_tokens)]
    packed = read_packed(readers.model, source)
    if packed is not None:
        return packed
    media = read_media(readers.model, readers.processor, source, sampling_rate, truncate=truncate)
    if media is not None:
        return media
    if isinstance(source, Mapping):
        given = used(readers.model, source)
        return with_images(
            readers.model, given, lambda own: split(own, vocabulary(readers.model), readers.limit, readers.tokenizer)
        )
    if isinstance(source, str):
        return [_text(readers, source, truncate, add_special_tokens)]
    if not isinstance(source, Sequence):
        raise BadInput(
            f"Got {'None' if source is None else f'an object of type {type(source).__name__}'}. Give a text, a pair of "
            "texts, an image, a sound, model inputs ({'input_ids': …}), or a list of these."
        )
    if len(source) == 0:
        raise BadInput("The list of texts is empty, so there is nothing to explain.")
    return [one for each in source for one in read(_as_pair(each), sampling_rate)]


def _text(readers: Readers, text: Text, truncate: bool, add: bool | None) -> Inputs:
    model, tokenizer = readers.model, readers.tokenizer
    if tokenizer is None:
        raise BadInput(
            "Got a text, but the model was loaded without a tokenizer. Pass one to contextmix.load, or "
            "give model inputs: {'input_ids': …}."
        )
    found = encode(tokenizer, text, readers.limit, truncate=truncate, add_special_tokens=add, known=vocabulary(model))
    return replace(found, tensors=without_idle_types(model, found.tensors))


def is_pair(source: Any) -> bool:
    """Whether this is a pair of texts by name, which is one source: ``{"text": …, "text_pair": …}``."""
    return isinstance(source, Mapping) and source.keys() == {"text", "text_pair"}


def refuse_two_readings(source: Any) -> None:
    """A tuple of two texts by itself: a pair to some, and to others the batch that a ``DataLoader`` gives.

    Raises:
        BadInput: With both readings, and how to say each.
    """
    if not (isinstance(source, tuple) and _are_two(source)):
        return
    first, second = (f"{part!r:.40}" for part in source)
    raise BadInput(
        f"A tuple of two texts is ambiguous: it could be one pair that the model reads together, or a batch of two "
        f"texts, as from a DataLoader. For the pair use {{'text': {first}, 'text_pair': {second}}}, or [({first}, "
        f"{second})] for a list with it; for two texts use [{first}, {second}]."
    )


def _as_pair(one: Any) -> Any:
    """What stands in a list; there, two texts together are a pair, as a tuple or (from JSON) as a list.

    Raises:
        BadInput: If it is a list of one text, or of more than two.
    """
    if isinstance(one, list | tuple) and _are_two(one):
        return {"text": one[0], "text_pair": one[1]}
    if isinstance(one, list | tuple) and one and all(isinstance(part, str) for part in one):
        raise BadInput(
            f"A list holds a list of {len(one)} texts, {list(one)!r:.60}, which may mean more sources or the words of "
            "one. In a list, two texts together are a pair; give other texts side by side, and the words of a text "
            "joined."
        )
    return one


def _are_two(source: Any) -> bool:
    return len(source) == 2 and all(isinstance(part, str) for part in source)


def is_list(source: Any) -> bool:
    """Whether these are several sources; a text, a pair, a chat, an image, a sound and model inputs are one.

    Raises:
        BadInput: See `refuse_two_readings`.
    """
    refuse_two_readings(source)
    return not isinstance(source, str | Mapping) and not is_chat(source) and not is_one_medium(source)


def is_many(source: Any) -> bool:
    """Whether these are several sequences: a list, or model inputs with a batch axis."""
    if not isinstance(source, Mapping) or is_pair(source) or is_pictured(source):
        return is_list(source)
    ids = source.get("input_ids", source.get("inputs_embeds"))
    if ids is None:
        return not (is_one_in_a_row(source) or is_one_medium(source))
    return torch.as_tensor(ids).ndim > (1 if "input_ids" in source else 2)
