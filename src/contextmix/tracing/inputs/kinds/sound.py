"""Sounds: from a sound to `Inputs`, and from tokens back to their time in it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, PreTrainedModel

from contextmix.errors import BadInput, UnsupportedModel
from contextmix.tokens.media import is_recording, read_sound
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Frames
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.encode import Inputs, numbered
from contextmix.tracing.inputs.kind import Kind, row_of

Window = tuple[int, int, int]
"""Length, step and padding in front of one sliding window: a convolution, or the spectrogram."""


def encode_sound(
    model: PreTrainedModel, processor: Any, source: Any, sampling_rate: int | None, *, truncate: bool
) -> Inputs:
    """A sound as model inputs.

    Args:
        model: A model of sounds.
        processor: Its feature extractor.
        source: What `contextmix.tokens.media.read_sound` reads.
        sampling_rate: Samples per second, where the source does not say it.
        truncate: Cut a sound that is longer than the model hears instead of refusing it.

    Raises:
        BadInput: If it is no such sound, has another sampling rate, or is too short or too long.
    """
    samples, rate = read_sound(source, sampling_rate)
    expected = processor.sampling_rate
    if rate != expected:
        raise BadInput(
            f"The model hears {expected} samples per second and the sound has {rate}, so it would hear another pitch "
            f"and another speed. Resample it: scipy.signal.resample_poly(samples, {expected}, {rate}), then "
            f"sampling_rate={expected}."
        )
    limit = getattr(processor, "n_samples", None)
    if limit is not None and len(samples) > limit and not truncate:
        raise BadInput(
            f"The sound lasts {len(samples) / rate:.2f} s and the model hears {limit / rate:.0f} s at once. "
            f"Truncating it silently would explain a different sound. Cut it, or use truncate=True (--truncate in a "
            f"terminal)."
        )
    samples = samples[:limit]
    windows = _windows(model, processor)
    if windows and limit is None and _outputs(len(samples), windows) < 1:
        raise BadInput(
            f"The sound has {len(samples)} samples and one frame needs {_reach(windows)[1]}, "
            f"{_reach(windows)[1] / rate * 1000:.0f} ms. So there is no frame to explain. Give a longer sound."
        )
    found = processor(samples, sampling_rate=rate, return_tensors="pt")
    accepted = inspect.signature(model.forward).parameters
    # The mask of one sound without padding says nothing; some models were never trained to read one.
    tensors = {name: value[0] for name, value in found.items() if name in accepted and name != "attention_mask"}
    return Inputs(None, tensors, 0, partial(place_frames, processor=processor, samples=len(samples), strict=True))


def split_sounds(model: PreTrainedModel, processor: Any, tensors: dict[str, Tensor]) -> list[Inputs]:
    """Samples or spectrograms of several sounds as single inputs, without their padding."""
    main = model.main_input_name
    place = partial(place_frames, processor=processor, samples=None, strict=False)
    if main != "input_values":
        return [Inputs(None, row_of(tensors, number), 0, place) for number in range(len(tensors[main]))]
    rows = unpadded(tensors[main], tensors.get("attention_mask"))
    others = {name: value for name, value in tensors.items() if name not in (main, "attention_mask")}
    return [Inputs(None, {**row_of(others, number), main: row}, 0, place) for number, row in enumerate(rows)]


def is_sampled(source: Any) -> bool:
    """Whether these are samples with their rate: ``(samples, rate)``, or the form of Hugging Face."""
    if is_recording(source):
        return True
    pair = isinstance(source, tuple) and len(source) == 2
    return pair and isinstance(source[1], int | np.integer) and not isinstance(source[0], str | Mapping)


def place_frames(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    count: int,
    *,
    processor: Any,
    samples: int | None,
    strict: bool,
) -> Tokens:
    """The tokens of a sound with their times; numbered ones where the convolutions or the rate are unknown.

    Args:
        model: A model of sounds.
        anatomy: Not needed; all ways to place tokens are called alike.
        tensors: What it read, without a batch axis.
        count: How many tokens its blocks saw.
        processor: Its feature extractor, or None.
        samples: How long the sound is; None for all that the tensors hold.
        strict: Refuse times that do not come out; else the tokens are numbered.

    Raises:
        UnsupportedModel: If ``strict``, and the convolutions make another number of frames than there are tokens.
    """
    windows = _windows(model, processor)
    rate = getattr(processor, "sampling_rate", None)
    if not windows or not rate:
        return numbered(count)
    heard = _samples_of(tensors, windows)
    frames = _outputs(heard, windows)
    if frames != count:
        if not strict:
            return numbered(count)
        raise UnsupportedModel(
            f"{type(model).__name__} does not say when its tokens sound: its convolutions make {frames} frames and "
            f"its blocks see {count} tokens. A map would be drawn at wrong times. Give "
            f"{{{model.main_input_name!r}: …}} instead of the sound for a result with numbered tokens."
        )
    start, reach, step = _reach(windows)
    places = Frames(rate, heard if samples is None else samples, step, start, reach, tuple(range(count)))
    return Tokens(_labels(places), special=tuple(map(places.is_added, range(count))), places=places)


def _labels(frames: Frames) -> tuple[str, ...]:
    """Number times step, as people of speech count; with as many decimals as keep neighbours apart."""
    decimals = next(places for places in range(2, 9) if frames.rate <= frames.step * 10**places)
    return tuple(f"{(number or 0) * frames.step / frames.rate:.{decimals}f}s" for number in frames.numbers)


def _windows(model: PreTrainedModel, processor: Any) -> Sequence[Window]:
    """The sliding windows between the samples and the first block; empty where they are unknown."""
    config = model.config
    if model.main_input_name == "input_values":
        kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
        return [(kernel, stride, 0) for kernel, stride in zip(kernels or (), strides or (), strict=True)]
    hop, length = getattr(processor, "hop_length", None), getattr(processor, "n_fft", None)
    convolutions = {
        path.rsplit(".", 1)[-1]: part for path, part in model.named_modules() if isinstance(part, nn.Conv1d)
    }
    if not hop or not length or convolutions.keys() != {"conv1", "conv2"}:
        return []
    found = [(length, hop, length // 2)]  # Whisper's spectrogram: windows around every hop-th sample
    for name in ("conv1", "conv2"):
        part = convolutions[name]
        found.append((part.kernel_size[0], part.stride[0], int(part.padding[0])))
    return found


def _reach(windows: Sequence[Window]) -> tuple[int, int, int]:
    """Of the first output: the sample where its window begins and how many it spans; and samples between outputs."""
    start, reach, step = 0, 1, 1
    for length, stride, padding in windows:
        start, reach, step = start - padding * step, reach + (length - 1) * step, step * stride
    return start, reach, step


def _outputs(samples: int, windows: Sequence[Window]) -> int:
    """How many outputs the windows make of so many samples."""
    count = samples
    for place, (length, stride, padding) in enumerate(windows):
        # The spectrogram of Whisper leaves the last frame out, so it has one per whole hop.
        spectrogram = place == 0 and padding > 0
        count = count // stride if spectrogram else (count + 2 * padding - length) // stride + 1
    return count


def _samples_of(tensors: Mapping[str, Tensor], windows: Sequence[Window]) -> int:
    if "input_values" in tensors:
        return int(tensors["input_values"].shape[-1])
    return int(tensors["input_features"].shape[-1]) * windows[0][1]


def unpadded(values: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Sounds (batch, sample) without what the mask says is padding.

    Raises:
        BadInput: If the mask does not fit, is empty, or has a hole.
    """
    if mask is None or values.ndim != 2:
        return list(values)
    if mask.shape != values.shape:
        raise BadInput(f"attention_mask has shape {tuple(mask.shape)}, the sounds {tuple(values.shape)}.")
    found = []
    for row, kept in enumerate(mask.bool()):
        places = torch.nonzero(kept).flatten()
        if len(places) == 0 or int(places[-1]) - int(places[0]) + 1 != len(places):
            raise BadInput(f"The attention_mask of sound {row} is empty or has a hole; padding is only at the ends.")
        found.append(values[row, int(places[0]) : int(places[-1]) + 1])
    return found


KIND = Kind(
    name="sound",
    inputs={"input_values": 2, "input_features": 3},
    reader="feature extractor",
    attribute="feature_extractor",
    given_as="samples with their sampling_rate",
    sampled=True,
    recognises=is_sampled,
    load=AutoFeatureExtractor.from_pretrained,  # type: ignore[no-untyped-call, unused-ignore]
    read=encode_sound,
    split=split_sounds,
)
