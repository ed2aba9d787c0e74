"""What a user gives, as `Inputs`: a text, a pair of texts, an image, a sound, model inputs, or a list of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from contextmix.errors import BadInput
from contextmix.tracing.inputs.beside import used
from contextmix.tracing.inputs.encode import Inputs, split
from contextmix.tracing.inputs.media import is_one_medium, read_media
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.texts import Text, encode

Source = Text | Mapping[str, Any] | Any
"""What can be explained: a text, a pair of texts, an image, a sound (`contextmix.tokens.media`), or model inputs."""


def read_sources(
    model: PreTrainedModel,
    tokenizer: Any,
    processor: Any,
    limit: int | None,
    source: Source | Sequence[Source],
    sampling_rate: int | None,
    *,
    truncate: bool,
) -> list[Inputs]:
    """One source, or a list of them, as single sequences.

    Args:
        model: The model.
        tokenizer: Its tokenizer, or None.
        processor: Its image processor or feature extractor, or None.
        limit: The most tokens that it reads; None for no limit.
        source: What was given.
        sampling_rate: Samples per second of a sound.
        truncate: Cut texts and sounds that are too long instead of refusing them.

    Raises:
        BadInput: If a text or the list is empty, there is no tokenizer, or the model does not read such a thing.
        TooLong: If a sequence is longer than the model reads.
    """
    media = read_media(model, processor, source, sampling_rate, truncate=truncate)
    if media is not None:
        return media
    if isinstance(source, Mapping):
        return split(used(model, source), vocabulary(model), limit, tokenizer)
    if not isinstance(source, str) and not is_pair(source):
        if not isinstance(source, Sequence):
            raise BadInput(
                f"A {type(source).__name__} was given. Give a text, a pair of texts, an image, a sound, model "
                f"inputs ({{'input_ids': …}}), or a list of these."
            )
        if len(source) == 0:
            raise BadInput("The list of texts is empty, so there is nothing to explain.")
        read = partial(read_sources, model, tokenizer, processor, limit, truncate=truncate)
        return [one for each in source for one in read(each, sampling_rate)]
    if tokenizer is None:
        raise BadInput(
            "A text was given, but the model was loaded without a tokenizer. Pass one to contextmix.load, or "
            "give model inputs: {'input_ids': …}."
        )
    return [encode(tokenizer, source, limit, truncate=truncate)]  # type: ignore[arg-type]


def is_pair(source: Any) -> bool:
    """Whether this is a pair of texts, which is one source."""
    return isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, str) for part in source)


def is_list(source: Any) -> bool:
    """Whether these are several sources; a pair of texts, an image, a sound and model inputs are one."""
    return not isinstance(source, str | Mapping) and not is_pair(source) and not is_one_medium(source)


def is_many(source: Any) -> bool:
    """Whether these are several sequences: a list, or model inputs with a batch axis."""
    if not isinstance(source, Mapping):
        return is_list(source)
    ids = source.get("input_ids", source.get("inputs_embeds"))
    if ids is None:
        return not is_one_medium(source)
    return torch.as_tensor(ids).ndim > (1 if "input_ids" in source else 2)
