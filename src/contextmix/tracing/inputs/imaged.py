"""What belongs to the images of a prompt among model inputs: pixels, sizes, and the marks where images stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput
from contextmix.tracing.inputs.beside import accepted_names, reads_both
from contextmix.tracing.inputs.encode import Inputs, as_tensor
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.regions import place_images, windows_of
from contextmix.tracing.recording.quiet import BESIDE, has_images
from contextmix.tracing.recording.stack import image_id

ENDS = "image places as they enter the first block; what the image tower mixed before is not in these numbers"
"""What results say of prompts with images."""
_UNREAD = {"attention_mask", "labels"}
"""What processors write beside what is read: one prompt has no padding, and a loss is no score."""


def image_tensors(model: PreTrainedModel, processor: Any, found: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a processor made, without the batch axis; what belongs to images keeps its own axes.

    Args:
        model: The model.
        processor: For its name.
        found: One prompt with its images.

    Raises:
        BadInput: If the model does not read a part of it.
    """
    known, shape = accepted_names(model) or set(), tuple(found["input_ids"].shape)
    tensors: dict[str, Tensor] = {}
    for name, value in found.items():
        if name in _UNREAD or (name == "token_type_ids" and name not in known):
            continue
        if name not in known:
            raise BadInput(
                f"{type(processor).__name__} makes {name}, which {type(model).__name__} does not read: the processor "
                "belongs to another model. Load the one beside the model."
            )
        tensors |= _named(name, as_tensor(name, value), shape, model.dtype)
    return tensors


def _named(name: str, value: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Tensor]:
    """An input under its own name if it is one per token, or else under that of an input of images."""
    value = _in_precision(value, dtype)
    if of_images(name) or tuple(value.shape[:2]) != shape:
        return {BESIDE + name: value}
    return {name: value[0]}


def of_images(name: str) -> bool:
    """Whether an input of this name belongs to images and not to tokens."""
    return name.startswith(("pixel_", "image_"))


def refuse_other_marks(model: PreTrainedModel, ids: Tensor) -> None:
    """Token ids without a place for an image, though there is one: a processor of another model.

    Raises:
        BadInput: If it is so, or an id is unknown to the model.
    """
    mark, known = image_id(model), vocabulary(model)
    words = ids if mark is None else ids[ids != mark]
    fits = known is None or not words.numel() or int(words.max()) < known
    if not fits or (mark is not None and len(words) == len(ids)):
        what = f"an id of {int(words.max())}, and it knows 0 to {(known or 0) - 1}" if not fits else f"no token {mark}"
        raise BadInput(
            f"The processor does not match the model: {type(model).__name__} puts images at its token {mark}, and the "
            f"prompt holds {what}. Load the processor that belongs to the model."
        )


def refuse_marks_alone(model: PreTrainedModel, inputs: Inputs) -> Inputs:
    """A text with marks for images and no image: the model would read the bare mark, which it never saw in training.

    Raises:
        BadInput: If it is so.
    """
    ids, mark = inputs.tensors.get("input_ids"), image_id(model)
    if ids is None or mark is None or not reads_both(model) or has_images(inputs.tensors):
        return inputs
    if count := int((ids == mark).sum()):
        raise BadInput(
            f"The text holds {count} mark{'s' if count > 1 else ''} for images (token {mark}) but there is no image. "
            "Give {'image': …, 'text': …}, a chat with images, or leave the marks out."
        )
    return inputs


def refuse_other_images(model: PreTrainedModel, tensors: Mapping[str, Tensor], ids: Tensor) -> None:
    """Other ids in the place of an image: the model puts what it sees there, whatever stands in the text.

    Raises:
        BadInput: If image places are replaced, left out or moved.
    """
    mark = image_id(model)
    if (
        has_images(tensors)
        and mark is not None
        and (ids == mark).sum(-1).ne((tensors["input_ids"] == mark).sum()).any()
    ):
        raise BadInput(
            "An image place of the prompt is to be replaced or left out as if it were a word, and the model puts what "
            "it sees there, whatever the text holds. Methods that replace token ids say nothing of images: use one "
            "that follows values or gradients, such as evidence or gradient_inputs."
        )


def _in_precision(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


_OF_TOKENS = ("input_ids", "inputs_embeds", "attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")


def _of_these_images(given: Mapping[str, Any]) -> dict[str, Tensor]:
    """Those of model inputs that belong to images: by name, or because they are beside some and not one per token."""
    tensors = {name: as_tensor(name, value) for name, value in given.items()}
    if not any(of_images(name) for name in tensors):
        return {}
    read = tensors.get("input_ids", tensors.get("inputs_embeds"))
    assert read is not None
    shape = tuple(read.shape[-1:] if "input_ids" in tensors else read.shape[-2:-1])
    others = {name: value for name, value in tensors.items() if name not in _OF_TOKENS and value.ndim}
    return {name: one for name, one in others.items() if of_images(name) or tuple(one.shape[1:2]) != shape}


def with_images(
    model: PreTrainedModel, given: Mapping[str, Any], split: Callable[[Mapping[str, Any]], list[Inputs]]
) -> list[Inputs]:
    """Model inputs that a user made for a prompt with images, as single sequences.

    Args:
        model: The model.
        given: By name.
        split: Makes sequences of what belongs to tokens.

    Raises:
        BadInput: If several sequences came together and nobody can say whose the images are.
    """
    both = reads_both(model) and not given.keys().isdisjoint(("input_ids", "inputs_embeds"))
    images = _of_these_images(given) if both else {}
    rows = split({name: value for name, value in given.items() if name not in images})
    if not images:
        return rows
    divided = all(len(value) == len(rows) for value in images.values()) and "image_grid_thw" not in images
    if len(rows) > 1 and not divided:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in images.items())
        raise BadInput(
            f"{len(rows)} sequences came with {shapes}, so images cannot be matched to sequences. Give them one by "
            f"one, in a list."
        )
    found = []
    for number, row in enumerate(rows):
        own = {name: value[number : number + 1] if len(rows) > 1 else value for name, value in images.items()}
        beside = {BESIDE + name: _in_precision(value, model.dtype) for name, value in own.items()}
        tensors = {**row.tensors, **beside}
        place, windows = None, windows_of(model, tensors, None, None)
        if row.tokens is not None:
            place = partial(place_images, tokens=row.tokens, windows=windows)
        found.append(Inputs(row.tokens, tensors, row.length, place, {**row.notes, "rows_end_at": ENDS}, windows))
    return found
