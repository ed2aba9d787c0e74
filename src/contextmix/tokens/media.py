"""Images and sounds as people have them (files, arrays, PIL images), read the same way wherever they are needed."""

from __future__ import annotations

import importlib
import struct
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contextmix.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, np.dtype[Any]]

_WITHOUT_LOSS = ("RGB", "L", "P", "1", "CMYK", "YCbCr", "HSV", "LAB")
"""Modes of PIL that hold a picture of 8 bits per channel and no transparency."""


def is_image(source: Any) -> bool:
    """Whether something is a PIL image (PIL is not loaded to find out)."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def images_in(source: Any) -> list[Any]:
    """The images of a source, in order: of a prompt, of a chat, of a list of images, or one by itself.

    Example:
        >>> images_in({"image": "a.png", "text": "What is this?"}), images_in(["a.png", "b.png"])
        (['a.png'], ['a.png', 'b.png'])
    """
    if isinstance(source, Mapping):
        if "image" in source:
            return [source["image"]]
        return images_in(source["images"]) if "images" in source else [source]
    if not isinstance(source, list | tuple):
        return [source]
    if not any(isinstance(one, Mapping) and "content" in one for one in source):
        return list(source)
    contents = (one.get("content") for one in source if isinstance(one, Mapping))
    parts = (part for content in contents if isinstance(content, list | tuple) for part in content)
    images = (part for part in parts if isinstance(part, Mapping) and part.get("type") == "image")
    return [part.get("image") if part.get("image") is not None else part.get("path") for part in images]


def is_recording(source: Any) -> bool:
    """Whether something is a sound as the audio columns of Hugging Face hold it.

    Example:
        >>> is_recording({"array": [0.0, 0.5], "sampling_rate": 16000, "path": "a.wav"})
        True
    """
    return isinstance(source, Mapping) and "sampling_rate" in source and ("array" in source or "raw" in source)


def pillow(name: str = "Image") -> Any:
    """A module of Pillow, which only images need.

    Raises:
        BadInput: If it is not installed.
    """
    try:
        return importlib.import_module(f"PIL.{name}")
    except ImportError as reason:
        raise BadInput(
            "Images need the library Pillow, and it is not installed: pip install 'contextmix[image]'."
        ) from reason


def read_image(source: Any) -> Image:
    """An image as RGB with 8 bits per channel, turned the way viewers turn it (Exif).

    Args:
        source: A path, a PIL image, or an array (height, width, 3) of uint8 from 0 to 255 or floats from 0 to 1.

    Raises:
        BadInput: If it is no such thing, cannot be read, or has other channels.

    Example:
        >>> read_image(np.zeros((2, 3, 3), np.uint8)).size  # width, height
        (3, 2)
    """
    if isinstance(source, str | Path):
        return _rgb(_opened(Path(source)))
    if is_image(source):
        return _rgb(pillow("ImageOps").exif_transpose(source))
    if isinstance(source, np.ndarray):
        found: Image = pillow().fromarray(_eight_bits(source))
        return found
    raise BadInput(f"An image is a path, a PIL image or an array (height, width, 3); got a {type(source).__name__}.")


def read_sound(source: Any, sampling_rate: int | None = None) -> tuple[Array, int]:
    """A sound as samples (sample,) in float32, and its sampling rate in hertz.

    Integers are divided by the largest that their type holds, as in a file of that type.

    Args:
        source: A path, samples, a pair (samples, sampling rate), or ``{"array": …, "sampling_rate": …}``.
        sampling_rate: Samples per second; files and pairs know it themselves.

    Raises:
        BadInput: If it is no such thing, cannot be read, has several channels, is empty, holds NaN, or its rate is
            unknown or said twice and differently.

    Example:
        >>> samples, rate = read_sound((np.zeros(8, np.int16), 16000))
        >>> samples.dtype.name, rate
        ('float32', 16000)
    """
    own = None
    if isinstance(source, str | Path):
        source, own = _sound_file(Path(source))
    elif is_recording(source):
        source, own = source["array"] if "array" in source else source["raw"], source["sampling_rate"]
    elif isinstance(source, tuple) and len(source) == 2:
        source, own = source
    if own is not None and sampling_rate not in (None, own):
        raise BadInput(
            f"The sound has {own} samples per second, but sampling_rate={sampling_rate}. Leave out "
            f"sampling_rate, or correct it."
        )
    rate = own if sampling_rate is None else sampling_rate
    if rate is None:
        raise BadInput(
            "The number of samples per second is unknown, so times are unknown too. Give "
            "sampling_rate=…, a pair (samples, rate), or a .wav file."
        )
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate < 1:
        raise BadInput(f"sampling_rate={rate!r} must be a number of samples per second, e.g. 16000.")
    return _samples(np.asarray(source)), int(rate)


def is_file(path: Path | str) -> bool:
    """Whether there is such a file; of a name that no file can have there is none."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def _opened(path: Path) -> Any:
    if not is_file(path):
        raise BadInput(f"There is no image file {path}. Images are given as a path, a PIL image or an array.")
    image = pillow()
    try:
        with image.open(path) as found:
            return pillow("ImageOps").exif_transpose(found)
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as reason:
        raise BadInput(f"{path} cannot be read as an image: {reason}.") from reason


def _rgb(image: Any) -> Image:
    transparent = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    if transparent and image.convert("RGBA").getextrema()[3] == (255, 255):
        image, transparent = image.convert("RGBA"), False  # says it may be transparent and is not
    if transparent or image.mode not in (*_WITHOUT_LOSS, "RGBA"):
        what = "has transparent pixels, whose colours are undefined" if transparent else f"has the mode {image.mode}"
        raise BadInput(
            f"The image {what}, and the model reads red, green and blue. A guess would show it another picture: paste "
            'it onto a background, or convert it yourself, for example image.convert("RGB").'
        )
    found: Image = image.convert("RGB")
    return found


def _eight_bits(pixels: Array) -> Array:
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        hint = " (channels come last: array.transpose(1, 2, 0))" if pixels.shape[:1] == (3,) else ""
        raise BadInput(
            f"An image is an array (height, width, 3) of red, green and blue{hint}; this one has the shape "
            f"{pixels.shape}. Give model inputs {{'pixel_values': …}} for anything else."
        )
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f" or not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise BadInput(
            "An image holds uint8 from 0 to 255 or floats from 0 to 1; this array holds "
            f"{pixels.dtype} from {pixels.min()} to {pixels.max()}. Another scale would show the model another picture."
        )
    rounded: Array = np.rint(pixels * 255).astype(np.uint8)
    return rounded


def _sound_file(path: Path) -> tuple[Array, int]:
    if not is_file(path):
        raise BadInput(f"There is no sound file {path}. Sounds are given as a path or as samples with their rate.")
    try:
        if path.suffix.lower() == ".wav":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # chunks that say who made the file
                rate, samples = importlib.import_module("scipy.io.wavfile").read(path)
        else:
            samples, rate = importlib.import_module("soundfile").read(path, dtype="float32")
    except ImportError as reason:
        raise BadInput(
            f"{path} is not a .wav file; other formats need the library soundfile: pip install soundfile."
        ) from reason
    except (OSError, ValueError, RuntimeError, EOFError, struct.error) as reason:
        raise BadInput(f"{path} cannot be read as a sound: {reason}.") from reason
    return samples, int(rate)


def _samples(sound: Array) -> Array:
    if sound.ndim != 1 or sound.dtype.kind not in "iuf":
        channels = f"{min(sound.shape)} channels" if sound.ndim == 2 else f"the shape {sound.shape}"
        raise BadInput(
            f"A sound is one row of numbers (samples,); this one has {channels} of {sound.dtype}. Take one channel, or "
            "their mean: sound.mean(axis=…)."
        )
    if len(sound) == 0:
        raise BadInput("The sound is empty, so there is no frame to explain.")
    if sound.dtype.kind == "f":
        if not (finite := np.isfinite(sound)).all():
            raise BadInput(
                f"{int((~finite).sum())} of {len(sound)} samples are NaN or infinite, the first at "
                f"{int(np.argmin(finite))}. Every frame with such a sample would be too. Repair the recording."
            )
        return sound.astype(np.float32)
    largest = 2 ** (8 * sound.dtype.itemsize - 1)
    centred = sound.astype(np.float64) - (largest if sound.dtype.kind == "u" else 0)
    divided: Array = (centred / largest).astype(np.float32)
    return divided
