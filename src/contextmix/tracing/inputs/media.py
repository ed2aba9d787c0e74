"""Images and sounds, or tensors made of them, as `Inputs`: who reads what, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BaseImageProcessor, FeatureExtractionMixin, PreTrainedModel, ProcessorMixin

from contextmix.errors import BadInput, BadOption
from contextmix.tokens.media import is_image
from contextmix.tracing.inputs.encode import Inputs, as_tensor
from contextmix.tracing.inputs.images import encode_image, refuse_channels
from contextmix.tracing.inputs.patches import place_patches
from contextmix.tracing.inputs.sounds import encode_sound, place_frames, unpadded

MEDIA = {"pixel_values": "image", "input_values": "sound", "input_features": "sound"}
"""What models that read no text call their input, and what it is made of."""

_AXES = {"pixel_values": 4, "input_values": 2, "input_features": 3}  # with the batch axis
_READERS = {"image": "image processor", "sound": "feature extractor"}


def modality(model: PreTrainedModel) -> str:
    """What a model reads: ``text``, ``image`` or ``sound``."""
    return MEDIA.get(model.main_input_name, "text")


def sorted_readers(given: Any, model: PreTrainedModel) -> tuple[Any, Any]:
    """The tokenizer, and the image processor or feature extractor, in what a user or a folder gave; None for neither.

    Args:
        given: A tokenizer, an image processor, a feature extractor, or a processor that holds several of them.
        model: What it is for.
    """
    if isinstance(given, ProcessorMixin):
        attribute = {"image": "image_processor", "sound": "feature_extractor"}.get(modality(model), "")
        return getattr(given, "tokenizer", None), getattr(given, attribute, None)
    is_reader = isinstance(given, BaseImageProcessor | FeatureExtractionMixin)
    return (None, given) if is_reader else (given, None)


def read_media(
    model: PreTrainedModel, processor: Any, source: Any, sampling_rate: int | None, *, truncate: bool
) -> list[Inputs] | None:
    """An image, a sound, or tensors of them, as single inputs.

    Args:
        model: The model.
        processor: Its image processor or feature extractor, or None.
        source: Anything that a user may ask to explain.
        sampling_rate: Samples per second of a sound.
        truncate: Cut a sound that is longer than the model hears.

    Returns:
        One `Inputs` per image or sound; None where the source is text, token ids or a list.

    Raises:
        BadInput: If the model reads something else, or nobody can turn the source into what it reads.
    """
    reads, given = modality(model), _kind(source)
    if given == "list":
        return None
    if sampling_rate is not None and (reads != "sound" or isinstance(source, Mapping)):
        raise BadOption(f"sampling_rate={sampling_rate} belongs to the samples of a sound, and none were given.")
    if isinstance(source, Mapping):
        return _in_precision(model, _split(model, processor, source))
    if reads == "text":
        if given in ("text", "texts"):
            return None
        raise BadInput(f"{_named(given)} was given, and {type(model).__name__} reads text.")
    if given == "texts" or (given in ("image", "sound") and given != reads):
        raise BadInput(f"{_named(given)} was given, and {type(model).__name__} reads {reads}s.")
    if given == "text" and not Path(source).is_file():
        raise BadInput(
            f"{type(model).__name__} reads {reads}s, not text, and there is no {reads} file {source!r:.80}. Give a "
            f"path, {'a PIL image' if reads == 'image' else 'samples with their sampling_rate'}, or an array."
        )
    if processor is None:
        raise BadInput(
            f"{_named(reads)} was given, but the model was loaded without its {_READERS[reads]}. Pass one to "
            f"contextmix.load (images need Pillow: pip install 'contextmix[image]'), or give model inputs: "
            f"{{{model.main_input_name!r}: …}}."
        )
    source = source.numpy(force=True) if isinstance(source, Tensor) else source
    if reads == "image":
        found = encode_image(model, processor, source)
    else:
        found = encode_sound(model, processor, source, sampling_rate, truncate=truncate)
    return _in_precision(model, [found])


def is_one_medium(source: Any) -> bool:
    """Whether something is one image or sound and no list of them."""
    if isinstance(source, Mapping):
        name = next((name for name in _AXES if name in source), None)
        return name is not None and as_tensor(name, source[name]).ndim < _AXES[name]
    return _kind(source) not in ("list", "text", "texts")


@contextmanager
def refusals(model: PreTrainedModel) -> Iterator[None]:
    """A model of images or sounds that refuses the size of its input says so as `BadInput`."""
    try:
        yield
    except ValueError as reason:
        if modality(model) == "text":
            raise
        raise BadInput(f"{type(model).__name__} does not read these {model.main_input_name}: {reason}") from reason


def _kind(source: Any) -> str:
    if isinstance(source, str):
        return "text"
    if isinstance(source, Path):
        return "path"
    if is_image(source):
        return "image"
    if isinstance(source, np.ndarray | Tensor):
        return "array"
    if isinstance(source, tuple) and len(source) == 2:
        if all(isinstance(part, str) for part in source):
            return "texts"
        if isinstance(source[1], int | np.integer) and not isinstance(source[0], str | Mapping):
            return "sound"
    return "model inputs" if isinstance(source, Mapping) else "list"


def _named(given: str) -> str:
    return {"image": "An image", "array": "An array", "texts": "A pair of texts"}.get(given, f"A {given}")


def _split(model: PreTrainedModel, processor: Any, source: Mapping[str, Any]) -> list[Inputs] | None:
    """Tensors of images or sounds as single inputs; None if they are token ids."""
    main, reads = model.main_input_name, modality(model)
    if "input_ids" in source or "inputs_embeds" in source or not source:
        return None
    if main not in source:
        if reads == "text" and not source.keys() & MEDIA.keys():
            return None
        raise BadInput(f"{type(model).__name__} reads {main}, and the model inputs hold {', '.join(source)}.")
    if reads == "text":
        return None
    tensors = {name: as_tensor(name, value) for name, value in source.items()}
    if tensors[main].ndim == _AXES[main] - 1:
        tensors = {name: value.unsqueeze(0) for name, value in tensors.items()}
    if not tensors[main].is_floating_point() or not bool(tensors[main].isfinite().all()):
        raise BadInput(f"{main} must be finite floating-point numbers; these are {tensors[main].dtype} or hold NaN.")
    counts = {name: len(value) for name, value in tensors.items()}
    if len(set(counts.values())) > 1:
        raise BadInput(f"The model inputs must hold equally many {reads}s, and they hold {counts}.")
    if reads == "image":
        pixels = tensors[main]
        refuse_channels(model, pixels)
        size = (int(pixels.shape[-1]), int(pixels.shape[-2]))
        place: Any = partial(place_patches, size=size, window=(0.0, 0.0, float(size[0]), float(size[1])), strict=False)
    else:
        place = partial(place_frames, processor=processor, samples=None, strict=False)
        if main == "input_values":
            rows = unpadded(tensors.pop(main), tensors.pop("attention_mask", None))
            return [_one({**_row(tensors, number), main: row}, place) for number, row in enumerate(rows)]
    return [_one(_row(tensors, number), place) for number in range(counts[main])]


def _in_precision(model: PreTrainedModel, inputs: list[Inputs] | None) -> list[Inputs] | None:
    """Pixels and samples in the precision of the weights: most models do not convert them themselves."""
    if inputs is None:
        return None
    dtype = model.dtype
    return [
        replace(one, tensors={name: _converted(value, dtype) for name, value in one.tensors.items()}) for one in inputs
    ]


def _converted(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _one(tensors: Mapping[str, Tensor], place: Any) -> Inputs:
    return Inputs(None, tensors, 0, place)


def _row(tensors: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    return {name: value[number] for name, value in tensors.items()}
