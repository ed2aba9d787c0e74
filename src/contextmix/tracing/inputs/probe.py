"""A short input on which a model of any modality can be tried: made from its config and the name of its main input."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from contextmix.errors import BadInput
from contextmix.tracing.inputs.asked import asked_inputs
from contextmix.tracing.recording.quiet import on_device, plain_names, quiet_run

LENGTH = 7
"""Tokens of a text probe: enough that no sum of tensors fits by chance."""

_FEATURES = ("num_mel_bins", "feature_size", "input_feat_per_channel", "feature_projection_input_dim", "input_dim")
_CHANNELS = ("num_channels", "in_channels", "in_chans", "image_channels")
_SOUND = 4_000  # samples, a quarter of a second, for a model that says nothing of its strides


def source_probe(model: PreTrainedModel, limit: int | None = None) -> dict[str, Tensor]:
    """What the encoder of an encoder–decoder can be tried on; see `default_probe`."""
    encoder = model.get_encoder()
    own = encoder if isinstance(encoder, PreTrainedModel) else model
    return default_probe(own, limit, vocabulary(own) or vocabulary(model))


def default_probe(model: PreTrainedModel, limit: int | None = None, words: int | None = None) -> dict[str, Tensor]:
    """Model inputs for one short sequence, image or sound; noise, the same on every call.

    A config does not say every axis (whether a spectrogram is frames × bins or bins × frames), so the likely shapes are
    tried in turn and the first on which the model runs is taken.

    Args:
        model: Any Hugging Face model.
        limit: The most tokens that it reads.
        words: How many token ids it knows, if it does not say so itself.

    Returns:
        Model inputs with a batch axis of one.

    Raises:
        BadInput: If the model runs on none of them, or its main input is of no kind known here.
    """
    reader = getattr(model, "part_that_reads", model)  # a side of a model of two towers says which part of it reads
    candidates = list(_candidates(reader, limit, words or _words(reader)))
    if len(candidates) == 1:  # nothing to choose from
        return {name: one.to(model.dtype) if one.is_floating_point() else one for name, one in candidates[0].items()}
    reasons: list[str] = []
    for candidate in candidates:
        inputs = on_device(model, candidate)
        inputs |= {name: value.to(model.dtype) for name, value in inputs.items() if value.is_floating_point()}
        try:
            quiet_run(model, inputs)
        except Exception as failure:  # whatever a model says to an input of a wrong shape
            named = zip(plain_names(candidate), candidate.values(), strict=True)
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in named)
            reasons.append(f"{shapes}: {type(failure).__name__}: {str(failure).strip().partition(chr(10))[0]}")
        else:
            return inputs
    tried = f" ({len(reasons)} were tried; {reasons[0]})" if reasons else ""
    needed = " and ".join(_needed(model)) or str(model.main_input_name)
    raise BadInput(
        f"{type(model).__name__} reads {needed}, and there is no default input to try it on{tried}. Give model inputs: "
        f"{{{needed.partition(' ')[0]!r}: …}}."
    )


def vocabulary(model: PreTrainedModel) -> int | None:
    """How many token ids a model knows; None if nothing says so."""
    try:
        embeddings = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # nothing says how many ids there are, so none is out of range
        return None
    return getattr(embeddings, "num_embeddings", None)


def _words(model: PreTrainedModel) -> int:
    """How many token ids a model knows, or says that it knows where its embeddings are no one table."""
    return vocabulary(model) or getattr(model.config.get_text_config(), "vocab_size", None) or 2


def _candidates(model: PreTrainedModel, limit: int | None, words: int) -> Iterator[dict[str, Tensor]]:
    """The main input alone in every likely shape; then, where the model reads text too, both, and text alone."""
    accepted = inspect.signature(model.forward).parameters
    named = model.main_input_name if isinstance(model.main_input_name, str) else model.main_input_name[0]
    others = [name for name in _SHAPES if name in accepted]
    main = next((name for name in _needed(model) if name in (*_SHAPES, "input_ids")), named)
    main = main if main in accepted or not others else others[0]  # an inner encoder inherits the name of another input
    text = {"input_ids": _token_ids(model, limit, words)} if "input_ids" in accepted else {}
    if text and main == "input_ids":
        yield text
    alone = [{name: _noise(shape)} for name in others for shape in _SHAPES[name](model.config)]
    yield from (one for one in alone if main in one)
    if text:
        yield from ({**text, **one} for one in alone)
    if text and main != "input_ids":
        yield text
    yield from asked_inputs(model, text, embeds=vocabulary(model) is not None)


def _needed(model: PreTrainedModel) -> list[str]:
    """Inputs without which a model cannot be called."""
    accepted = inspect.signature(model.forward).parameters.values()
    return [one.name for one in accepted if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]


def _token_ids(model: PreTrainedModel, limit: int | None, known: int) -> Tensor:
    """Random ids; none that stands for something else than text, such as the place of an image."""
    marks = set(_marks(model.config))
    plain = torch.tensor([word for word in range(known) if word not in marks] or [0])
    length = min(LENGTH, limit or LENGTH)
    chosen = torch.randint(len(plain), (1, length), generator=torch.Generator().manual_seed(0))
    return plain[chosen]


def _marks(config: PreTrainedConfig) -> Iterator[int]:
    """Ids that the config gives a meaning of their own, of its sub-configurations too."""
    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            yield from _marks(value)
        elif name.endswith(("_token_id", "_token_index", "_token_ids")):
            yield from (one for one in (value if isinstance(value, Sequence) else [value]) if isinstance(one, int))


def _images(config: PreTrainedConfig) -> Iterator[tuple[int, ...]]:
    """Batch, channel, height, width; for a model of videos batch, frame, channel, height, width."""
    config = _nested(config, "image_size", "vision_config", "backbone_config")
    size, patch = _pair(getattr(config, "image_size", None)), _pair(getattr(config, "patch_size", None))
    channels = next((value for name in _CHANNELS if isinstance(value := getattr(config, name, None), int)), 3)
    frames = getattr(config, "num_frames", None)
    sides = [size, (4 * patch[0], 4 * patch[1]) if patch else None, (64, 64), (224, 224)]
    for side in dict.fromkeys(filter(None, sides)):
        if isinstance(frames, int):
            yield 1, frames, channels, *side
        yield 1, channels, *side


def _videos(config: PreTrainedConfig) -> Iterator[tuple[int, ...]]:
    """Batch, frame, channel, height, width."""
    for batch, *rest in _images(config):
        yield (batch, *rest) if len(rest) == 4 else (batch, 4, *rest)


def _sounds(config: PreTrainedConfig, frames_first: bool = False) -> Iterator[tuple[int, ...]]:
    """Batch and samples of a wave; or batch, frames and features of a spectrogram, in either order."""
    config = _nested(config, "num_mel_bins", "audio_config", "encoder_config")
    bins = next((value for name in _FEATURES if isinstance(value := getattr(config, name, None), int)), None)
    strides = getattr(config, "conv_stride", None)
    if bins:
        frames = getattr(config, "max_source_positions", None) or getattr(config, "max_length", None) or 8 * LENGTH
        for count in (2 * frames, frames):  # Whisper's first convolutions halve the frames
            both = [(1, bins, count), (1, count, bins)]
            yield from reversed(both) if frames_first else both
        yield 1, 1, 8 * LENGTH, bins
    elif isinstance(strides, Sequence):
        yield 1, prod(strides) * (LENGTH + 1)
        yield 1, 1, prod(strides) * (LENGTH + 1)
    else:
        yield 1, _SOUND
        yield 1, 1, _SOUND


def _nested(config: PreTrainedConfig, wanted: str, *parts: str) -> Any:
    """The config that says the wanted field: this one, or that of the part which sees or hears."""
    if hasattr(config, wanted):
        return config
    return next((part for name in parts if (part := getattr(config, name, None)) is not None), config)


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    if isinstance(value, Sequence) and len(value) >= 2:
        return int(value[-2]), int(value[-1])
    return None


def _noise(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


_SHAPES: dict[str, Callable[[PreTrainedConfig], Iterator[tuple[int, ...]]]] = {
    "pixel_values": _images,
    "image": _images,
    "pixel_values_videos": _videos,
    "input_values": partial(_sounds, frames_first=True),
    "input_features": _sounds,
}
