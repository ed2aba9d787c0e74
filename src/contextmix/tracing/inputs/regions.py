"""From the tokens of a prompt with images to their rectangles in these, in pixels of the images as they were given.

What the processor did to an image (resized, cropped, padded, cut into tiles) is not believed but found: by sending it
images of the same sizes whose brightness says x, or y.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.tokens.media import read_image
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.regions import Region, Regions
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.tower import PIXELS, Units, rectangles, seen_units
from contextmix.tracing.recording.quiet import BESIDE

Numbers = NDArray[np.float64]
Process = Callable[[list[Any]], Mapping[str, Tensor]]
"""What the processor makes of images of the same sizes, with the same text."""


@dataclass(frozen=True)
class Windows:
    """Where the patches of pixels that a tower reads stand in the images.

    Attributes:
        sizes: Width and height of each image.
        units: How the pixels are cut.
        boxes: (unit, 4): left, top, right and bottom in pixels of its image; NaN for padding.
        images: (unit,): the image of each.
    """

    sizes: tuple[tuple[int, int], ...]
    units: Units
    boxes: Numbers
    images: NDArray[np.int64]


def windows_of(
    model: PreTrainedModel, tensors: Mapping[str, Tensor], images: Sequence[Any] | None, process: Process | None
) -> Windows | None:
    """Where the patches of an input stand; None where that does not come out.

    Args:
        model: The model.
        tensors: What it reads, without a batch axis.
        images: As they were given; None for pixels that a user gave, each of whose tiles is then an image.
        process: See `Process`.
    """
    units = Units.of(model, tensors)
    if units is None:
        return None
    if images is None or process is None:
        return _of_pixels(units)
    boxes, owners = np.full((len(units.at), 4), np.nan), np.zeros(len(units.at), dtype=np.int64)
    for number, image in enumerate(images):
        centres = _centres(units, tensors, images, number, process)
        own = None if centres is None else ~np.isnan(centres[:, 0])
        if centres is None or own is None or not own.any():
            return None
        found = _boxes(units, centres, own, image.size, _grid(tensors, number))
        if found is None:
            return None
        boxes[own], owners[own] = found, number
    return Windows(tuple(image.size for image in images), units, boxes, owners)


def _of_pixels(units: Units) -> Windows | None:
    """Each tile of pixels as an image of its own."""
    if units.patch is None:
        return None
    (rows, columns), (height, width) = units.patch, units.shape[-2:]
    tile, row, column = units.at.T
    edges = (column * columns, row * rows, (column + 1) * columns, (row + 1) * rows)
    return Windows(((width, height),) * (int(tile.max()) + 1), units, np.stack(edges, -1).astype(float), tile)


def _grid(tensors: Mapping[str, Tensor], number: int) -> tuple[int, int] | None:
    """Rows and columns of the patches of an image, where the processor says them."""
    grids = tensors.get(BESIDE + "image_grid_thw")
    return None if grids is None else (int(grids[number][1]), int(grids[number][2]))


def _centres(
    units: Units, tensors: Mapping[str, Tensor], images: Sequence[Any], number: int, process: Process
) -> Numbers | None:
    """The middle of each unit in one image, (unit, 2), x and y; NaN for what does not show this image.

    None if the processor makes other shapes of images of the same sizes.
    """
    width, height = images[number].size
    across = np.broadcast_to(np.rint(np.linspace(0, 255, width)), (height, width))
    down = np.broadcast_to(np.rint(np.linspace(0, 255, height))[:, None], (height, width))
    seen = []
    for levels in (np.zeros((height, width)), np.full((height, width), 255.0), across, down):
        shown = [_grey(np.zeros(one.size[::-1])) for one in images]
        shown[number] = _grey(levels)
        pixels = process(shown)[PIXELS]
        if pixels.shape != tensors[PIXELS].shape:
            return None
        seen.append(units.means(pixels))
    black, white, x, y = seen
    span = white - black
    if not span.max() > 0:
        return None
    shows = span > 0.01 * span.max()
    scale = np.where(shows, span, np.nan)
    # The pixel with the number k, which shines as k / (count - 1), has its middle at k + 1/2.
    return np.stack([(one - black) / scale * (count - 1) + 0.5 for one, count in ((x, width), (y, height))], -1)


def _grey(levels: Numbers) -> Any:
    return read_image(np.repeat(levels.astype(np.uint8)[..., None], 3, axis=-1))


def _boxes(
    units: Units, centres: Numbers, own: NDArray[np.bool_], size: tuple[int, int], grid: tuple[int, int] | None
) -> Numbers | None:
    """The boxes of the units that show an image, (own unit, 4); None unless they stand on straight grids."""
    if grid is not None:
        return _on_grid(centres[own], size, grid)
    found = np.full((len(own), 4), np.nan)
    for tile in np.unique(units.tiles[own]):
        here = own & (units.tiles == tile)
        for axis, column in ((0, 2), (1, 1)):
            edges = _line(units.at[here, column], centres[here, axis], size[axis])
            if edges is None:
                return None
            found[here, axis], found[here, axis + 2] = edges
    limits = np.array([*size, *size], dtype=float)
    return np.asarray(np.clip(found, 0, limits)[own])


def _line(numbers: NDArray[np.int64], centres: Numbers, size: int) -> tuple[Numbers, Numbers] | None:
    """Near and far edges of patches that stand in equal steps; None if they do not."""
    if len(np.unique(numbers)) < 2:
        return None
    # Patches that are padded in part, or at the edge of the filter, say a middle that is a little off.
    inner = np.abs(numbers - np.median(numbers)) < max(np.ptp(numbers) / 2, 1.1)
    chosen = inner if len(np.unique(numbers[inner])) > 1 else np.ones_like(inner)
    step, start = np.polyfit(numbers[chosen] + 0.5, centres[chosen], 1)
    apart = np.abs(start + step * (numbers + 0.5) - centres)[chosen]
    if not step > 0 or apart.max() > 0.3 * step + 1.5 * size / 255:
        return None
    return start + step * numbers, start + step * (numbers + 1)


def _on_grid(centres: Numbers, size: tuple[int, int], grid: tuple[int, int]) -> Numbers | None:
    """Boxes of patches of a whole image in the order in which the processor wrote them."""
    steps = np.array([size[0] / grid[1], size[1] / grid[0]])
    cells = np.floor(centres / steps)
    off = np.abs(centres / steps - cells - 0.5)
    allowed = 0.3 + 1.5 * np.array(size) / 255 / steps
    if len({tuple(cell) for cell in cells.tolist()}) != grid[0] * grid[1] or (off > allowed).any():
        return None
    return np.concatenate([cells * steps, np.minimum((cells + 1) * steps, size)], -1)


def place_images(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    count: int,
    *,
    tokens: Tokens,
    windows: Windows | None,
) -> Tokens:
    """The labels of a prompt, with the regions of its image places where they are known.

    Args:
        model: The model.
        anatomy: Where its blocks are.
        tensors: What it reads, without a batch axis.
        count: How many tokens there are.
        tokens: Their labels so far.
        windows: Where the patches stand.

    Raises:
        UnsupportedModel: If images do not enter the blocks as tokens.
    """
    if windows is None:
        return tokens
    seen = seen_units(model, anatomy, tensors, windows.units)
    if len(seen) != count or not seen.any():
        found = f"{len(seen)} tokens enter" if len(seen) != count else "no token that enters"
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}): {found} the first block"
            f"{f' where the prompt has {count}' if len(seen) != count else ' is made of the image'}, so its images "
            "reach the text in another way than as tokens (cross-attention?), and one map over both cannot say that. "
            "No number was produced."
        )
    if seen.sum(0).max() > 1:  # the tower mixes patches in another way than by attention, or with learned queries
        return tokens
    boxes = list(rectangles(seen, windows.boxes, windows.images))
    return _labelled(tokens, Regions(windows.sizes, tuple(boxes)), [_tile(row, windows.units) for row in seen])


def place_tower(windows: Windows, seen: NDArray[np.bool_], names: Sequence[str]) -> Tokens:
    """The labels of the tokens of an image tower, all tiles after each other.

    Args:
        windows: Where the patches of pixels stand.
        seen: (token, unit): those that each token sees.
        names: What tokens that see none are called, in order.
    """
    left = iter(names)
    special = tuple(not row.any() for row in seen)
    pieces = tuple(next(left) if mark else "" for mark in special)
    boxes = tuple(rectangles(seen, windows.boxes, windows.images))
    tokens = Tokens(tuple(piece or f"#{place}" for place, piece in enumerate(pieces)), special=special)
    return _labelled(tokens, Regions(windows.sizes, boxes), [_tile(row, windows.units) for row in seen])


def _tile(row: NDArray[np.bool_], units: Units) -> int:
    return int(units.tiles[row.argmax()])


def _labelled(tokens: Tokens, places: Regions, tiles: Sequence[int]) -> Tokens:
    """Image places named by row and column, and by tile and image where there are several."""
    if all(box is None for box in places.boxes):
        return tokens
    groups: dict[tuple[int, int], list[int]] = {}
    for token, box in enumerate(places.boxes):
        if box is not None:
            groups.setdefault((box[0], tiles[token]), []).append(token)
    pieces = list(tokens.pieces)
    for (image, tile), own in groups.items():
        several = sorted(other for number, other in groups if number == image)
        front = f"i{image}." if len(places.sizes) > 1 else ""
        front += f"t{several.index(tile)}." if len(several) > 1 else ""
        lefts, tops = (_ranks([_edge(places.boxes[token], edge) for token in own]) for edge in (1, 2))
        for token, left, top in zip(own, lefts, tops, strict=True):
            pieces[token] = f"{front}r{top}c{left}"
    special = tuple(mark and box is None for mark, box in zip(tokens.special, places.boxes, strict=True))
    words = None
    if tokens.words is not None:
        words = tuple(None if box else word for word, box in zip(tokens.words, places.boxes, strict=True))
    return Tokens(tuple(pieces), tokens.ids, special, words, tokens.spans, tokens.text, places)


def _edge(box: Region | None, edge: int) -> float:
    assert box is not None
    return box[edge]


def _ranks(edges: Sequence[float]) -> list[int]:
    """Which of the different numbers each is, the smallest first; what differs by rounding is the same."""
    rounded = np.round(np.array(edges), 3)
    return [int(rank) for rank in np.searchsorted(np.unique(rounded), rounded)]
