"""The images of a prompt on one canvas: side by side, so that whoever draws one image draws several."""

from __future__ import annotations

from typing import Any

import numpy as np

from contextmix.errors import BadInput
from contextmix.tokens.media import images_in, pillow, read_image
from contextmix.tokens.places import Frames, Patches, Places
from contextmix.tokens.regions import Region, Regions
from contextmix.views.drawing.colours import Array

GAP = 8
"""Pixels between two images."""


def on_canvas(places: Places | None) -> Patches | Frames | Regions | None:
    """The same places, those of several images as places on one canvas that holds all images from left to right.

    Example:
        >>> places = on_canvas(Regions(((4, 2), (3, 5)), ((0, 0, 0, 4, 2), (1, 0, 0, 3, 5))))
        >>> places.sizes, places.box(1)
        (((15, 5),), (12, 0, 15, 5))
    """
    if not isinstance(places, Regions) or len(places.sizes) == 1:
        return places
    lefts = _lefts(places)
    boxes = (None if box is None else _moved(box, lefts[box[0]]) for box in places.boxes)
    width = lefts[-1] + places.sizes[-1][0]
    return Regions(((width, max(height for _, height in places.sizes)),), tuple(boxes))


def canvas_for(places: Regions, source: Any) -> Any:
    """The images that a map is laid over, as one RGB image.

    Args:
        places: As they are in the map, before `on_canvas`.
        source: The prompt or the chat that was explained, its image, or a list of its images.

    Raises:
        BadInput: If one is none, or they are others than those that were explained.
    """
    found = [read_image(one) for one in images_in(source)]
    if tuple(one.size for one in found) != places.sizes:
        raise BadInput(
            f"The map belongs to {_told(places.sizes)} pixels, and {_told([one.size for one in found])} came. The "
            f"map would be misplaced. Give the images that were explained, in their order."
        )
    if len(found) == 1:
        return found[0]
    lefts = _lefts(places)
    size = lefts[-1] + found[-1].size[0], max(one.size[1] for one in found)
    canvas = pillow().new("RGB", size, "white")
    for left, one in zip(lefts, found, strict=True):
        canvas.paste(one, (left, 0))
    return canvas


def raster(scores: Array, places: Regions, rows: int, columns: int) -> Array:
    """Scores on a grid over one canvas, (row, column): in each cell the strongest place; NaN where there is none.

    Args:
        scores: (token,).
        places: On one canvas.
        rows: Of the grid.
        columns: The same.

    Example:
        >>> places = Regions(((4, 2),), ((0, 0, 0, 2, 2), None))
        >>> raster(np.array([0.5, 1.0]), places, 1, 2).tolist()
        [[0.5, nan]]
    """
    (width, height), found = places.sizes[0], np.full((rows, columns), np.nan)
    down, across = (np.arange(rows) + 0.5) * height / rows, (np.arange(columns) + 0.5) * width / columns
    for score, box in zip(scores.tolist(), places.boxes, strict=True):
        if box is not None:
            _, left, top, right, bottom = box
            cells = np.ix_((top <= down) & (down < bottom), (left <= across) & (across < right))
            own = found[cells]
            found[cells] = np.where(np.isnan(own) | (abs(score) > np.abs(own)), score, own)
    return found


def _moved(box: Region, right: float) -> Region:
    _, left, top, far, bottom = box
    return (0, left + right, top, far + right, bottom)


def _lefts(places: Regions) -> list[int]:
    lefts = [0]
    for width, _ in places.sizes[:-1]:
        lefts.append(lefts[-1] + width + GAP)
    return lefts


def _told(sizes: Any) -> str:
    return f"{len(sizes)} image{'s' if len(sizes) != 1 else ''} of {', '.join(f'{w} × {h}' for w, h in sizes)}"
