"""Inputs that are no text, or tensors made of them, as `Inputs`: who reads what, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BaseImageProcessor, FeatureExtractionMixin, PreTrainedModel, ProcessorMixin

from contextmix.errors import BadInput, BadOption
from contextmix.tokens.media import is_file
from contextmix.tracing.inputs.beside import accepted_names, reads_both, used
from contextmix.tracing.inputs.encode import Inputs, as_tensor
from contextmix.tracing.inputs.kind import KINDS, Kind
from contextmix.tracing.inputs.towers import towers_of
from contextmix.tracing.recording.quiet import BESIDE


def kind_of(model: PreTrainedModel) -> Kind | None:
    """The kind of input that a model reads; None for text."""
    return next((kind for kind in KINDS.values() if model.main_input_name in kind.inputs), None)


def sorted_readers(given: Any, model: PreTrainedModel) -> tuple[Any, Any]:
    """The tokenizer, and the image processor or feature extractor, in what a user or a folder gave; None for neither.

    Args:
        given: A tokenizer, an image processor, a feature extractor, or a processor that holds several of them.
        model: What it is for.
    """
    if isinstance(given, ProcessorMixin):
        kind = kind_of(model)
        own = given if reads_both(model) or towers_of(model) else None
        return getattr(given, "tokenizer", None), own if kind is None else getattr(given, kind.attribute, None)
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
    kind, given = kind_of(model), _given(source)
    if given == "list":
        return None
    tensors = isinstance(source, Mapping) and given not in KINDS
    if sampling_rate is not None and (kind is None or not kind.sampled or tensors):
        raise BadOption(f"sampling_rate={sampling_rate} only applies to the samples of a sound; got none.")
    if tensors:
        return _in_precision(model, _split(model, processor, source))
    if kind is None:
        if given in ("text", "texts"):
            return None
        both = " with images in it. Give both: {'image': …, 'text': 'What is this?'}" if reads_both(model) else ""
        raise BadInput(f"Got {_named(given)}, but {type(model).__name__} reads text{both}.")
    _refuse_others(model, kind, given, source)
    if processor is None:
        raise BadInput(
            f"Got {_named(kind.name)}, but the model was loaded without its {kind.reader}. Pass one to "
            f"contextmix.load (images need Pillow: pip install 'contextmix[image]'), or give model inputs: "
            f"{{{model.main_input_name!r}: …}}."
        )
    if isinstance(source, Tensor) and (source.is_meta or source.layout is not torch.strided):
        raise BadInput(f"Got a tensor without plain numbers for a {kind.name} ({source.layout}).")
    source = source.numpy(force=True) if isinstance(source, Tensor) else source
    return _in_precision(model, [kind.read(model, processor, source, sampling_rate, truncate=truncate)])


def _refuse_others(model: PreTrainedModel, kind: Kind, given: str, source: Any) -> None:
    """What a model of this kind does not read."""
    if given == "texts" or (given in KINDS and given != kind.name):
        raise BadInput(f"Got {_named(given)}, but {type(model).__name__} reads {kind.name}s.")
    if given == "text" and not is_file(source):
        raise BadInput(
            f"{type(model).__name__} reads {kind.name}s, not text, and there is no {kind.name} file {source!r:.80}. "
            f"Give a path, {kind.given_as}, or an array."
        )


def is_one_medium(source: Any) -> bool:
    """Whether something is one image or sound and no list of them."""
    if isinstance(source, Mapping) and _given(source) not in KINDS:
        axes = _axes()
        name = next((name for name in axes if name in source), None)
        return name is not None and as_tensor(name, source[name]).ndim < axes[name]
    return _given(source) not in ("list", "text", "texts")


@contextmanager
def refusals(model: PreTrainedModel, given: Mapping[str, Tensor] | None = None) -> Iterator[None]:
    """What a model says to inputs that it cannot run on, as `BadInput`.

    Models of images and sounds refuse a size; any model may refuse what a user gave beside its token ids.

    Args:
        model: The model.
        given: What it reads.
    """
    beside = [] if given is None else [name for name in given if name not in ("input_ids", "token_type_ids")]
    try:
        yield
    except (ValueError, RuntimeError, IndexError) as reason:
        media = kind_of(model) is not None and isinstance(reason, ValueError)
        if isinstance(reason, torch.OutOfMemoryError) or not (media or beside):
            raise
        raise BadInput(_refusal(model, given or {}, str(reason))) from reason


def _refusal(model: PreTrainedModel, given: Mapping[str, Tensor], reason: str) -> str:
    shapes = {name.removeprefix(BESIDE): tuple(value.shape) for name, value in given.items()}
    read = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or model.main_input_name
    switch = "interpolate_pos_encoding"
    resized = switch in (accepted_names(model) or ()) and switch not in given and "pixel_values" in given
    hint = f" For images of another size than it was trained on, add {switch!r}: True." if resized else ""
    return f"{type(model).__name__} does not read these {read}: {reason.strip()}{hint}"


def _axes() -> dict[str, int]:
    """What models call inputs of all kinds → the axes of such a tensor."""
    return {name: count for kind in KINDS.values() for name, count in kind.inputs.items()}


def _given(source: Any) -> str:
    """What a user gave: a kind, or text, texts, path, array, model inputs or list."""
    if isinstance(source, str):
        return "text"
    if isinstance(source, Path):
        return "path"
    recognised = next((kind.name for kind in KINDS.values() if kind.recognises(source)), None)
    if recognised is not None:
        return recognised
    if isinstance(source, np.ndarray | Tensor):
        return "array"
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, str) for part in source):
        return "texts"
    return "model inputs" if isinstance(source, Mapping) else "list"


def _named(given: str) -> str:
    return {"image": "an image", "array": "an array", "texts": "a pair of texts"}.get(given, f"a {given}")


def _split(model: PreTrainedModel, processor: Any, source: Mapping[str, Any]) -> list[Inputs] | None:
    """Tensors of one kind as single inputs; None if they are token ids."""
    main, kind = model.main_input_name, kind_of(model)
    if "input_ids" in source or "inputs_embeds" in source or not source:
        return None
    if main not in source:
        if kind is None and not source.keys() & _axes().keys():
            return None
        raise BadInput(f"{type(model).__name__} reads {main}, and the model inputs hold {', '.join(source)}.")
    if kind is None:
        return None
    tensors = {name: as_tensor(name, value) for name, value in source.items() if value is not None}
    if tensors[main].ndim == kind.inputs[main] - 1:
        tensors = {name: value.unsqueeze(0) if value.ndim else value for name, value in tensors.items()}
    if not tensors[main].is_floating_point() or not bool(tensors[main].isfinite().all()):
        raise BadInput(f"{main} must be finite floating-point numbers; these are {tensors[main].dtype} or hold NaN.")
    counts = {name: len(value) for name, value in tensors.items() if value.ndim}
    if len(set(counts.values())) > 1:
        raise BadInput(f"The model inputs must hold equally many {kind.name}s, and they hold {counts}.")
    return kind.split(model, processor, used(model, tensors))


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
