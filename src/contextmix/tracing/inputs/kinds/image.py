"""Images: from an image to `Inputs`.

What the image processor cuts away is not believed but found: by sending it a picture whose colours are coordinates.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor
from transformers import AutoImageProcessor, PreTrainedModel

from contextmix.errors import BadInput, UnsupportedModel
from contextmix.tokens.media import is_image, read_image
from contextmix.tokens.regions import Box
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.kind import Kind, row_of
from contextmix.tracing.inputs.patches import place_patches, vision_config


def encode_image(
    model: PreTrainedModel, processor: Any, source: Any, sampling_rate: int | None = None, *, truncate: bool = False
) -> Inputs:
    """An image as model inputs.

    Args:
        model: A model of images.
        processor: Its image processor.
        source: What `contextmix.tokens.media.read_image` reads.
        sampling_rate: Images have none.
        truncate: Images are never cut.

    Raises:
        BadInput: If it is no RGB image, or the processor makes of it what the model does not read.
    """
    image = read_image(source)
    found = processor(images=image, return_tensors="pt")
    pixels = found.get("pixel_values")
    if not isinstance(pixels, Tensor) or pixels.ndim != 4 or len(pixels) != 1:
        raise UnsupportedModel(
            f"{type(processor).__name__} does not make one picture of pixels of an image, so it is unknown which "
            "token sees what. Give the model inputs yourself: {'pixel_values': …}."
        )
    accepted = inspect.signature(model.forward).parameters
    tensors = {name: value[0] for name, value in found.items() if name in accepted}
    refuse_channels(model, pixels)
    window = seen_window(processor, image.size, (pixels.shape[-1], pixels.shape[-2]))
    return Inputs(None, tensors, 0, partial(place_patches, size=image.size, window=window, strict=True))


def split_images(model: PreTrainedModel, processor: Any, tensors: dict[str, Tensor]) -> list[Inputs]:
    """Pixels of several images as single inputs, each seen as a whole."""
    pixels = tensors[model.main_input_name]
    refuse_channels(model, pixels)
    size = (int(pixels.shape[-1]), int(pixels.shape[-2]))
    place = partial(place_patches, size=size, window=(0.0, 0.0, float(size[0]), float(size[1])), strict=False)
    return [Inputs(None, row_of(tensors, number), 0, place) for number in range(len(pixels))]


def load_processor(place: str, **options: Any) -> Any:
    """An image processor that uses PIL, also where torchvision is at hand: numbers must not depend on what is there."""
    return AutoImageProcessor.from_pretrained(place, backend="pil", **options)  # type: ignore[no-untyped-call]


def refuse_channels(model: PreTrainedModel, pixels: Tensor) -> None:
    """Pixels (batch, channel, height, width) of another number of channels than the model reads.

    Raises:
        BadInput: If it is so.
    """
    expected = getattr(vision_config(model), "num_channels", None)
    if pixels.ndim == 4 and isinstance(expected, int) and pixels.shape[1] != expected:
        raise BadInput(
            f"The model reads images of {expected} channels and was given pixel_values of shape "
            f"{tuple(pixels.shape)}, which is (image, channel, height, width)."
        )


def seen_window(processor: Any, size: tuple[int, int], grid: tuple[int, int]) -> Box | None:
    """Which part of an image the processor keeps, in pixels of the image: resized, then cropped around the middle.

    Args:
        processor: An image processor.
        size: Width and height of the image.
        grid: Width and height of what it makes of it.

    Returns:
        The window, or None if the processor moves pixels in another way than this.
    """
    uncropped = {"do_center_crop": False} if getattr(processor, "do_center_crop", False) else {}
    height, width = _processed(processor, _plain(size, 0), **uncropped).shape[-2:] if uncropped else grid[::-1]
    edges = []
    for pixels, resized, kept in zip(size, (width, height), grid, strict=True):
        first = (resized - kept) // 2  # below 0 where the crop is larger: then it pads
        edges.append((first * pixels / resized, (first + kept) * pixels / resized))
    (left, right), (top, bottom) = edges
    window = (left, top, right, bottom)
    return window if _proved(processor, size, window) else None


def _plain(size: tuple[int, int], level: int) -> Any:
    return read_image(np.full((size[1], size[0], 3), level, np.uint8))


def _proved(processor: Any, size: tuple[int, int], window: Box) -> bool:
    """Whether a picture whose red says x and whose green says y comes out as the window says."""
    across, down = (np.rint(np.linspace(0, 255, count)) for count in size)
    ramp = np.zeros((size[1], size[0], 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = across[None, :], down[:, None]
    seen = _processed(processor, read_image(ramp))
    height, width = seen.shape[-2:]
    black, white = (_processed(processor, _plain((width, height), level)) for level in (0, 255))
    # The middle of the picture, so that padding and the filter at the edges do not matter.
    middle = height // 2, width // 2
    lines = (seen[0, middle[0]], seen[1, :, middle[1]])
    return all(
        _straight(line, (black[axis][middle], white[axis][middle]), size[axis], window[axis], window[axis + 2])
        for axis, line in enumerate(lines)
    )


def _processed(processor: Any, image: Any, **options: Any) -> Any:
    return processor(images=image, return_tensors="np", **options)["pixel_values"][0].astype(np.float64)


def _straight(seen: Any, levels: tuple[float, float], size: int, start: float, stop: float) -> bool:
    """Whether one line of the picture of coordinates holds the coordinates that the window says."""
    step = (stop - start) / len(seen)
    expected = start + (np.arange(len(seen)) + 0.5) * step - 0.5
    inside = (expected > step) & (expected < size - 1 - step)
    black, white = levels
    if abs(white - black) < 1e-6:
        return False
    found = (seen - black) / (white - black) * (size - 1)
    # A pixel and a half in either picture, and as many levels of the 256.
    allowed = 1.5 * max(step, 1.0) + 1.5 * size / 255
    return bool((np.abs(found - expected)[inside] <= allowed).all())


KIND = Kind(
    name="image",
    inputs={"pixel_values": 4},
    reader="image processor",
    attribute="image_processor",
    given_as="a PIL image",
    sampled=False,
    recognises=is_image,
    load=load_processor,
    read=encode_image,
    split=split_images,
)
