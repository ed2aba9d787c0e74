"""From the tokens of an image back to its patches.

No order is believed: patches are changed one at a time, and what enters the first block says which token each one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Patches
from contextmix.tokens.regions import Box
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.encode import numbered
from contextmix.tracing.recording.quiet import first_states, on_device, quiet_run
from contextmix.tracing.recording.turns import before, undone

Cell = tuple[int, int]
"""Row and column; of a grid, how many there are."""

SPECIAL = {
    "cls_token": "[CLS]",
    "class_embedding": "[CLS]",
    "distillation_token": "[DIST]",
    "register_tokens": "[REG]",
}
"""Parameters that hold special tokens in front of the patches, in the order in which models put them."""


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
    pixels, patch = tensors["pixel_values"], patch_size(model)
    if patch is None or pixels.ndim != 3:
        return numbered(count)
    grid = pixels.shape[-2] // patch[0], pixels.shape[-1] // patch[1]
    front = None if window is None else _first_patch(model, anatomy, tensors, grid, patch)
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
    names = [*special_names(model, front), *(f"r{row}c{column}" for row, column in cells)]
    names += [f"[EXTRA{number}]" for number in range(behind)]
    # Pixels at the right and the bottom that fill no patch are not seen.
    left, top, right, bottom = window
    right = left + (right - left) * columns * patch[1] / pixels.shape[-1]
    bottom = top + (bottom - top) * rows * patch[0] / pixels.shape[-2]
    places = Patches(size, grid, (left, top, right, bottom), (*[None] * front, *cells, *[None] * behind))
    return Tokens(tuple(names), special=tuple(cell is None for cell in places.cells), places=places)


def vision_config(model: PreTrainedModel) -> Any:
    """The configuration that says how a model sees."""
    return getattr(model.config, "vision_config", None) or model.config


def patch_size(model: PreTrainedModel) -> Cell | None:
    """Height and width of a patch; None where the configuration does not say."""
    patch = getattr(vision_config(model), "patch_size", None)
    if isinstance(patch, int):
        patch = patch, patch
    if not isinstance(patch, list | tuple) or len(patch) != 2:  # towers of several stages have one for each
        return None
    height, width = patch
    return (height, width) if height and width else None


def _first_patch(
    model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], grid: Cell, patch: Cell
) -> int | None:
    """Which token is the first patch; None unless patches follow each other row by row from there on.

    Four patches are changed one at a time: each must change one token, the one that reading order says.
    """
    rows, columns = grid
    if not rows or not columns:
        return None
    corners = dict.fromkeys([(0, 0), (0, min(1, columns - 1)), (min(1, rows - 1), 0), (rows - 1, columns - 1)])
    changed = [_touched(model, anatomy, tensors, patch, cell) for cell in corners]
    if not all(len(tokens) == 1 for tokens in changed):
        return None
    front = changed[0][0]
    expected = [[front + row * columns + column] for row, column in corners]
    return front if changed == expected else None


def _touched(
    model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], patch: Cell, cell: Cell
) -> list[int]:
    """The tokens that change when the pixels of one patch do."""
    pixels = tensors["pixel_values"]
    (row, height), (column, width) = zip(cell, patch, strict=True)
    other = pixels.clone()
    other[:, row * height : (row + 1) * height, column * width : (column + 1) * width] += 1
    before, after = _embedded(model, anatomy, tensors, torch.stack([pixels, other]))
    difference = (after.float() - before.float()).abs().amax(-1)
    return (difference > difference.max() / 1000).nonzero().flatten().tolist()


class _Seen(Exception):
    """No error: the run has shown what was wanted."""


def _embedded(
    model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], pixels: Tensor
) -> Iterator[Tensor]:
    """What enters the first block for other pixels (batch, …); the blocks themselves do not run."""

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Seen(first_states(args, kwargs))

    beside = {name: value.unsqueeze(0).expand(len(pixels), *value.shape) for name, value in tensors.items()}
    inputs = on_device(model, {**beside, "pixel_values": pixels})
    try:
        with undone(before(model.get_submodule(anatomy.blocks[0].path), look).remove):
            quiet_run(model, inputs)
    except _Seen as seen:
        return iter(seen.args[0])
    raise UnsupportedModel(f"{anatomy.blocks[0].path} did not run, so what it reads is unknown.")


def special_names(model: PreTrainedModel, count: int) -> list[str]:
    """Names of the tokens in front of the patches, from the parameters that hold them; plain numbers otherwise."""
    names: list[str] = []
    parameters = {path.rsplit(".", 1)[-1]: weight for path, weight in model.named_parameters()}
    for parameter, name in SPECIAL.items():
        if parameter in parameters:
            weight = parameters[parameter]
            several = weight.numel() // weight.shape[-1]
            names += [name] if several == 1 else [f"{name[:-1]}{number}]" for number in range(several)]
    return names if len(names) == count else [f"[EXTRA{number}]" for number in range(count)]
