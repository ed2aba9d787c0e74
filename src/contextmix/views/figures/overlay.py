"""A map over the image or the sound that it explains, as a picture of pixels (needs Pillow)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from contextmix.errors import BadOption, refuse_kind
from contextmix.results.token_map import TokenMap
from contextmix.tokens.media import pillow
from contextmix.tokens.places import Frames, Patches
from contextmix.tokens.regions import Regions
from contextmix.views.drawing.colours import Array
from contextmix.views.drawing.picture import Picture, picture
from contextmix.views.drawing.scene import TINT, envelope, image_for, marks, refuse_no_place, sound_for, ticks, tint

if TYPE_CHECKING:
    from PIL.Image import Image

UNSEEN = 0.35
"""Brightness of what the image processor cut away."""
WIDTH, BARS, WAVE, AXIS = 1200, 160, 80, 28
"""Pixels of the picture of a sound: its width, and the heights of its three bands."""


def overlay(token_map: TokenMap, source: Any, query: int | str | None = None, *, smooth: bool = False) -> Image:
    """Lay the row of one query over the image or the sound that was explained.

    The image turns grey, so that colour means score alone: blue, or red and blue for numbers with sign, and the
    stronger the more opaque; what the processor cut away is dark. A sound becomes bars along time over its wave.
    Special tokens stand nowhere and are not drawn, nor are the words of a prompt. Several images of a prompt lie side
    by side; where a place lies upon another one, the stronger one is seen.

    Args:
        token_map: A map with the axes key or (query, key).
        source: The image or the sound, as it was given to ``explain``; of a prompt all of it, its image, or its images.
        query: The token whose row to draw, by position or text. Left out: the first token.
        smooth: Interpolate between the middles of patches instead of showing their edges; for one image by itself.

    Returns:
        A PIL image, for an image in its size.

    Raises:
        BadOption: If the tokens of the map have no place, or those of a prompt are to be smooth.
        BadInput: If the source is not of the size or length that was explained, or Pillow is not installed.
        WrongShape: If the map has other axes.

    Example:
        >>> from contextmix.results.provenance import Provenance
        >>> from contextmix.tokens.pieces import Tokens
        >>> places = Patches((4, 2), (1, 2), (0, 0, 4, 2), ((0, 0), (0, 1)))
        >>> tokens = Tokens(("r0c0", "r0c1"), places=places)
        >>> result = TokenMap([0.0, 1.0], ("key",), tokens, "share", Provenance("example"))
        >>> overlay(result, np.zeros((2, 4, 3), np.uint8)).getpixel((0, 0))
        (0, 0, 0)
    """
    refuse_kind("overlay: smooth", smooth, bool)
    drawn = picture(token_map, query)
    places = refuse_no_place(drawn)
    if isinstance(places, Regions) and smooth:
        raise BadOption(
            "smooth=True interpolates between the patches of one grid, and image places of a prompt may be of several "
            "sizes and lie upon each other. Leave it out."
        )
    if isinstance(places, Patches | Regions):
        return _over_image(drawn, places, image_for(places, source), smooth)
    return _over_sound(drawn, places, sound_for(places, source))


def _over_image(drawn: Picture, places: Patches | Regions, image: Any, smooth: bool) -> Image:
    grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None].repeat(3, axis=-1)
    scores, seen = _smooth(drawn, places) if smooth and isinstance(places, Patches) else _stepped(drawn, image.size)
    positive, negative = (np.array(_rgb(tint(sign, drawn.signed))) for sign in (1, -1))
    tints = np.where(scores[..., None] < 0, negative, positive)
    mixed = np.where(seen[..., None], _mixed(grey, tints, scores[..., None]), grey * UNSEEN)
    found: Image = pillow().fromarray(np.rint(mixed).astype(np.uint8))
    return found


def _stepped(drawn: Picture, size: tuple[int, int]) -> tuple[Array, Array]:
    """The score of each pixel (height, width), and whether the model saw it."""
    width, height = size
    scores, seen = np.zeros((height, width)), np.zeros((height, width), dtype=bool)
    for mark in marks(drawn):
        left, top, right, bottom = (round(edge) for edge in mark.box)
        own = scores[top:bottom, left:right]
        scores[top:bottom, left:right] = np.where(np.abs(own) > abs(mark.score), own, mark.score)
        seen[top:bottom, left:right] = True
    return scores, seen


def _smooth(drawn: Picture, places: Patches) -> tuple[Array, Array]:
    """The same, interpolated linearly between the middles of the patches."""
    table = np.zeros(places.grid, dtype=np.float32)
    for token, cell in enumerate(places.cells):
        if cell is not None:
            table[cell] = drawn.scores[0, token]
    left, top, right, bottom = places.window
    (rows, columns), (width, height) = places.grid, places.size
    x, y = ((np.arange(count) + 0.5) for count in (width, height))
    across = np.clip((x - left) / (right - left) * columns - 0.5, 0, columns - 1)
    down = np.clip((y - top) / (bottom - top) * rows - 0.5, 0, rows - 1)
    between = np.array([np.interp(across, np.arange(columns), row) for row in table])
    scores = np.array([np.interp(down, np.arange(rows), column) for column in between.T]).T
    seen = ((left <= x) & (x < right))[None, :] & ((top <= y) & (y < bottom))[:, None]
    return np.where(seen, scores, 0.0), seen


def _over_sound(drawn: Picture, places: Frames, samples: Array) -> Image:
    image = pillow().new("RGB", (WIDTH, BARS + WAVE + AXIS), "white")
    pen = pillow("ImageDraw").Draw(image)
    scale = WIDTH / places.duration
    for mark in marks(drawn):
        left, top, right, _ = mark.box
        colour = _rgb(tint(mark.score, drawn.signed))
        pale = tuple(round(float(channel)) for channel in _mixed(np.full(3, 255.0), np.array(colour), mark.score))
        # Edges are shared, so neighbours leave no gap.
        x, y = (round(left * scale), round(right * scale)), round(top * BARS)
        if x[0] < x[1]:
            pen.rectangle((x[0], BARS, x[1] - 1, BARS + WAVE - 1), fill=pale)
        if x[0] < x[1] and y < BARS:
            pen.rectangle((x[0], y, x[1] - 1, BARS - 1), fill=colour)
    middle = BARS + WAVE / 2
    stretches = envelope(samples, WIDTH)
    for number, (low, high) in enumerate(stretches):
        x0 = number * WIDTH / len(stretches)
        pen.line((x0, middle - high * WAVE * 0.45, x0, middle - low * WAVE * 0.45), fill="#555555")
    for time, label in ticks(places.duration):
        x0 = min(time * scale, WIDTH - 1)
        pen.line((x0, BARS + WAVE, x0, BARS + WAVE + 5), fill="black")
        anchor = "l" if time == 0 else "r" if x0 > WIDTH - 30 else "m"
        pen.text((x0, BARS + WAVE + 7), label, fill="black", anchor=anchor + "a", font_size=14)
    found: Image = image
    return found


def _mixed(below: Array, colours: Array, scores: Any) -> Array:
    opacity = np.abs(scores) * TINT
    mixed: Array = below * (1 - opacity) + colours * opacity
    return mixed


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
