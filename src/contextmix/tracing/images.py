"""From an image to `Inputs`, and from tokens back to their place in it.

Nothing about a place is believed: what the image processor cut away is found by sending it a picture whose colours are
coordinates, and which token is which patch by changing patches and looking at what enters the first block.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.anatomy import Anatomy
from contextmix.errors import BadInput, UnsupportedModel
from contextmix.media import read_image
from contextmix.places import Box, Patches
from contextmix.tokens import Tokens
from contextmix.tracing.encode import Inputs, numbered
from contextmix.tracing.run import first_states, quiet_run

Cell = tuple[int, int]
"""Row and column; of a grid, how many there are."""

SPECIAL = {
    "cls_token": "[CLS]",
    "class_embedding": "[CLS]",
    "distillation_token": "[DIST]",
    "register_tokens": "[REG]",
}
"""Parameters that hold special tokens in front of the patches, in the order in which models put them."""


def encode_image(model: PreTrainedModel, processor: Any, source: Any) -> Inputs:
    """An image as model inputs.

    Args:
        model: A model of images.
        processor: Its image processor.
        source: What `contextmix.media.read_image` reads.

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


def refuse_channels(model: PreTrainedModel, pixels: Tensor) -> None:
    """Pixels (batch, channel, height, width) of another number of channels than the model reads.

    Raises:
        BadInput: If it is so.
    """
    expected = getattr(_vision(model), "num_channels", None)
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
    resized = grid
    if getattr(processor, "do_center_crop", False):
        height, width = processor(images=_plain(size, 0), do_center_crop=False, return_tensors="np")[
            "pixel_values"
        ].shape[-2:]
        resized = (width, height)
    start = [(whole - kept) // 2 for whole, kept in zip(resized, grid, strict=True)]
    left, top = (first * pixels / whole for first, pixels, whole in zip(start, size, resized, strict=True))
    right, bottom = (
        (first + kept) * pixels / whole for first, kept, pixels, whole in zip(start, grid, size, resized, strict=True)
    )
    window = (left, top, right, bottom)
    return window if _proved(processor, size, window) else None


def _plain(size: tuple[int, int], level: int) -> Any:
    return read_image(np.full((size[1], size[0], 3), level, np.uint8))


def _proved(processor: Any, size: tuple[int, int], window: Box) -> bool:
    """Whether a picture whose red says x and whose green says y comes out as the window says."""
    across, down = (np.rint(np.linspace(0, 255, count)) for count in size)
    ramp = np.zeros((size[1], size[0], 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = across[None, :], down[:, None]
    black, white, seen = (
        processor(images=image, return_tensors="np")["pixel_values"][0].astype(np.float64)
        for image in (_plain(size, 0), _plain(size, 255), read_image(ramp))
    )
    # The middle of the image, so that padding and the filter at the edges do not matter.
    height, width = seen.shape[-2:]
    lines = (
        (seen[0, height // 2], black[0, height // 2], white[0, height // 2]),
        (
            seen[1, :, width // 2],
            black[1, :, width // 2],
            white[1, :, width // 2],
        ),
    )
    return all(
        _straight(*line, size[axis], window[axis], window[axis + 2]) for axis, line in zip((0, 1), lines, strict=True)
    )


def _straight(seen: Any, black: Any, white: Any, size: int, start: float, stop: float) -> bool:
    """Whether one line of the picture of coordinates holds the coordinates that the window says."""
    step = (stop - start) / len(seen)
    expected = start + (np.arange(len(seen)) + 0.5) * step - 0.5
    inside = (expected > step) & (expected < size - 1 - step)
    if size == 1 or not inside.any():
        return True
    spread = (white - black)[inside]
    if not (np.abs(spread) > 1e-6).all():
        return False
    found = (seen - black)[inside] / spread * (size - 1)
    return bool(np.abs(found - expected[inside]).max() <= 1.5 * max(step, 1.0) + 1.5 * size / 255)


def place_patches(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    count: int,
    *,
    size: tuple[int, int],
    window: Box | None,
    strict: bool,
) -> Tokens:
    """The tokens of an image with their cells; numbered ones where the configuration names no patch size.

    Args:
        model: A model of images.
        anatomy: Where its blocks are.
        tensors: What it read, without a batch axis.
        count: How many tokens its blocks saw.
        size: Width and height of the image.
        window: What of it the model saw, in its pixels; None if that is unknown.
        strict: Refuse places that do not come out; else the tokens are numbered.

    Raises:
        UnsupportedModel: If ``strict``, and tokens and patches do not come out.
    """
    grid = _grid(model, tensors["pixel_values"])
    if grid is None:
        return numbered(count)
    front = None if window is None else _first_patch(model, anatomy, tensors, grid)
    if window is None or front is None or count < front + grid[0] * grid[1]:
        if not strict:
            return numbered(count)
        reason = (
            "the image processor moves pixels in another way than to resize and to crop around the middle"
            if window is None
            else f"its {count} tokens are not the {grid[0]} × {grid[1]} patches in reading order"
        )
        raise UnsupportedModel(
            f"{type(model).__name__} does not say where its tokens stand in the image: {reason}. A map would be drawn "
            "in wrong places. Give {'pixel_values': …} instead of the image for a result with numbered tokens."
        )
    rows, columns = grid
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    behind = count - front - len(cells)
    names = [*_special_names(model, front), *(f"r{row}c{column}" for row, column in cells)]
    names += [f"[EXTRA{number}]" for number in range(behind)]
    places = Patches(size, grid, window, (*[None] * front, *cells, *[None] * behind))
    return Tokens(tuple(names), special=tuple(cell is None for cell in places.cells), places=places)


def _vision(model: PreTrainedModel) -> Any:
    return getattr(model.config, "vision_config", None) or model.config


def _grid(model: PreTrainedModel, pixels: Tensor) -> tuple[int, int] | None:
    """Rows and columns of patches; None where the configuration does not say."""
    patch = getattr(_vision(model), "patch_size", None)
    height, width = (patch, patch) if isinstance(patch, int) else patch if isinstance(patch, list | tuple) else (0, 0)
    rows, columns = (pixels.shape[-2] // height, pixels.shape[-1] // width) if height and width else (0, 0)
    return (rows, columns) if rows and columns and pixels.ndim == 3 else None


def _first_patch(model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], grid: Cell) -> int | None:
    """Which token is the first patch; None unless patches follow each other row by row from there on.

    Four patches are changed one at a time: each must change one token, the one that reading order says.
    """
    rows, columns = grid
    corners = dict.fromkeys([(0, 0), (0, min(1, columns - 1)), (min(1, rows - 1), 0), (rows - 1, columns - 1)])
    changed = [_touched(model, anatomy, tensors, grid, cell) for cell in corners]
    if not all(len(tokens) == 1 for tokens in changed):
        return None
    front = changed[0][0]
    expected = [[front + row * columns + column] for row, column in corners]
    return front if changed == expected else None


def _touched(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    grid: tuple[int, int],
    cell: tuple[int, int],
) -> list[int]:
    """The tokens that change when the pixels of one patch do."""
    pixels = tensors["pixel_values"]
    height, width = pixels.shape[-2] // grid[0], pixels.shape[-1] // grid[1]
    other = pixels.clone()
    row, column = cell
    other[:, row * height : (row + 1) * height, column * width : (column + 1) * width] += 1
    before, after = _embedded(model, anatomy, tensors, torch.stack([pixels, other]))
    difference = (after.float() - before.float()).abs().amax(-1)
    return (difference > difference.max() / 1000).nonzero().flatten().tolist()  # type: ignore[no-any-return]


class _Seen(Exception):
    """No error: the run has shown what was wanted."""


def _embedded(
    model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], pixels: Tensor
) -> Iterator[Tensor]:
    """What enters the first block for other pixels (batch, …); the blocks themselves do not run."""

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Seen(first_states(args, kwargs))

    beside = {name: value.unsqueeze(0).expand(len(pixels), *value.shape) for name, value in tensors.items()}
    inputs = {name: value.to(model.device) for name, value in {**beside, "pixel_values": pixels}.items()}
    handle = model.get_submodule(anatomy.blocks[0].path).register_forward_pre_hook(look, with_kwargs=True)
    try:
        quiet_run(model, inputs)
    except _Seen as seen:
        return iter(seen.args[0])
    finally:
        handle.remove()
    raise UnsupportedModel(f"{anatomy.blocks[0].path} did not run, so what it reads is unknown.")


def _special_names(model: PreTrainedModel, count: int) -> list[str]:
    """Names of the tokens in front of the patches, from the parameters that hold them; plain numbers otherwise."""
    names: list[str] = []
    parameters = {path.rsplit(".", 1)[-1]: weight for path, weight in model.named_parameters()}
    for parameter, name in SPECIAL.items():
        if parameter in parameters:
            weight = parameters[parameter]
            several = weight.numel() // weight.shape[-1]
            names += [name] if several == 1 else [f"{name[:-1]}{number}]" for number in range(several)]
    return names if len(names) == count else [f"[EXTRA{number}]" for number in range(count)]
