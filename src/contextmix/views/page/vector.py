"""The row of an image or a sound as a vector drawing for pages: sharp at any size, and every mark tells its number."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, Literal

from contextmix.tokens.places import Frames, Patches
from contextmix.tokens.regions import Regions
from contextmix.views.drawing.colours import background
from contextmix.views.drawing.picture import Picture
from contextmix.views.drawing.scene import TINT, Mark, envelope, image_for, marks, sound_for, ticks, tint
from contextmix.views.drawing.side_by_side import on_canvas

LARGEST = 640
"""Most pixels, in either direction, of an image that is put into a page."""
WIDTH, BARS, WAVE = 1000, 120, 70
"""Units of the drawing of a sound: its width, and the heights of bars and wave."""


@dataclass(frozen=True)
class Drawing:
    """What a template needs to write one ``<svg>``.

    Attributes:
        width: Of the drawing, in its own units.
        height: The same.
        rectangles: Left, top, width, height, style and title of each mark.
        image: The grey image as a data URI; empty where none was given.
        unseen: A path around what the image processor cut away; empty where nothing was.
        wave: The path around the wave; empty where no sound was given.
        ticks: Place and label of round times.
    """

    width: float
    height: float
    rectangles: tuple[tuple[float, float, float, float, str, str], ...]
    image: str = ""
    unseen: str = ""
    wave: str = ""
    ticks: tuple[tuple[float, str], ...] = ()


def drawing(drawn: Picture, over: Any = None) -> Drawing | None:
    """How to draw a row of patches or frames; None for other rows.

    Args:
        drawn: What is to be drawn.
        over: The image or the sound that was explained; left out, the marks stand alone.

    Raises:
        BadInput: If it is not of the size or length that was explained.
    """
    places = drawn.keys.places
    if drawn.kind == "patches" and isinstance(places, Patches | Regions):
        return _of_image(drawn, places, over)
    return _of_sound(drawn, places, over) if drawn.kind == "frames" and isinstance(places, Frames) else None


def _of_image(drawn: Picture, places: Patches | Regions, over: Any) -> Drawing:
    if isinstance(places, Patches):
        (width, height), (left, top, right, bottom) = places.size, places.window
    else:  # what several images do not show is seen: nothing is drawn there
        width, height = size_of(places)
        left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    inner = f"M{left:.2f} {top:.2f}V{bottom:.2f}H{right:.2f}V{top:.2f}Z"
    cropped = left > 0 or top > 0 or right < width or bottom < height
    return Drawing(
        width,
        height,
        tuple(_rectangle(mark, mark.box, _fill(mark, drawn.signed, over is not None)) for mark in marks(drawn)),
        image="" if over is None else data_uri(image_for(places, over)),
        unseen=f"M0 0H{width}V{height}H0Z{inner}" if cropped else "",
    )


def size_of(places: Regions) -> tuple[int, int]:
    """Width and height of the canvas of all images of a prompt."""
    canvas = on_canvas(places)
    assert isinstance(canvas, Regions)
    return canvas.sizes[0]


def _of_sound(drawn: Picture, places: Frames, over: Any) -> Drawing:
    scale = WIDTH / places.duration
    bars = []
    for mark in marks(drawn):
        left, top, right, bottom = mark.box
        box = (left * scale, top * BARS, right * scale, bottom * BARS)
        bars.append(_rectangle(mark, box, f"fill:{tint(mark.score, drawn.signed)}"))
    wave = ""
    if over is not None:
        stretches = envelope(sound_for(places, over), WIDTH // 2)
        middle, step = BARS + 4 + WAVE / 2, WIDTH / len(stretches)
        upper = [f"{number * step:.1f} {middle - high * WAVE / 2:.1f}" for number, (_, high) in enumerate(stretches)]
        lower = [f"{number * step:.1f} {middle - low * WAVE / 2:.1f}" for number, (low, _) in enumerate(stretches)]
        wave = "M" + "L".join([*upper, *reversed(lower)]) + "Z"
    times = tuple((time * scale, label) for time, label in ticks(places.duration))
    return Drawing(WIDTH, BARS + (WAVE + 8 if wave else 0) + 24, tuple(bars), wave=wave, ticks=times)


def _rectangle(
    mark: Mark, box: tuple[float, float, float, float], style: str
) -> tuple[float, float, float, float, str, str]:
    left, top, right, bottom = (round(edge, 2) for edge in box)
    return left, top, round(right - left, 2), round(bottom - top, 2), style, mark.title


def _fill(mark: Mark, signed: bool, over: bool) -> str:
    if over:
        return f"fill:{tint(mark.score, signed)};fill-opacity:{abs(mark.score) * TINT:.3f}"
    light, dark = (background(mark.score, signed, theme) for theme in ("light", "dark"))
    return f"fill:{light};fill:light-dark({light},{dark})"


def data_uri(image: Any, mode: Literal["L", "RGB"] = "L") -> str:
    """The image in grey or colour, at most 640 pixels in either direction, as text that a page can hold."""
    small = image.convert(mode)
    small.thumbnail((LARGEST, LARGEST))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
