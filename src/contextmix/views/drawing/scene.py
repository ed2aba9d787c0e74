"""Where the marks of an image or a sound are drawn, in its own units; decided once, drawn as SVG, pixels or text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from contextmix.errors import BadInput, BadOption, WrongShape
from contextmix.tokens.media import read_image, read_sound
from contextmix.tokens.pieces import printable
from contextmix.tokens.places import Frames, Patches, where
from contextmix.tokens.regions import Regions
from contextmix.views.drawing.colours import Array, background
from contextmix.views.drawing.picture import Picture
from contextmix.views.drawing.side_by_side import canvas_for, on_canvas

TINT = 0.85
"""Opacity of the strongest colour over an image: what is below stays visible."""


@dataclass(frozen=True)
class Mark:
    """One token: a rectangle in pixels of the image, or in seconds and heights from 0 (bottom) to 1 of a sound.

    Attributes:
        token: Its position.
        box: Left, top, right, bottom.
        score: For its colour, in [-1, 1].
        title: Its name and number, printable.
    """

    token: int
    box: tuple[float, float, float, float]
    score: float
    title: str


def tint(score: float, signed: bool) -> str:
    """The colour over an image or a wave: one per sign, neither light nor dark, as its opacity says the score."""
    return background(-0.65 if score < 0 else 0.65, signed)


def marks(drawn: Picture) -> list[Mark]:
    """The tokens of a row that stand somewhere in the image or the sound, in their order.

    Places of images in a prompt may lie upon each other; smaller ones are drawn later.
    """
    places = on_canvas(drawn.keys.places)
    found = []
    for token, score in enumerate(drawn.scores[0].tolist()):
        box = None
        if isinstance(places, Patches | Regions):
            box = places.box(token)
        elif isinstance(places, Frames) and (slot := places.slot(token)) and slot[0] < places.duration:
            box = (slot[0], 1 - abs(score), min(slot[1], places.duration), 1.0)
        if box is not None:
            found.append(Mark(token, box, score, f"{printable(drawn.keys.pieces[token])}: {drawn.numbers[0][token]}"))
    return sorted(found, key=_area, reverse=True) if isinstance(places, Regions) else found


def _area(mark: Mark) -> float:
    left, top, right, bottom = mark.box
    return (right - left) * (bottom - top)


def elsewhere(drawn: Picture) -> list[int]:
    """Special tokens, and the words beside images: they stand nowhere, and what they give must not be forgotten."""
    places = drawn.keys.places
    at = () if places is None else where(places)
    return [token for token, place in enumerate(at) if place is None]


def strongest(drawn: Picture, limit: int) -> list[int]:
    """The tokens with the largest numbers, in their order."""
    order = np.argsort(-np.abs(drawn.values[0]), kind="stable")[:limit]
    return sorted(order.tolist())


def image_for(places: Patches | Regions, image: Any) -> Any:
    """The image that a map is laid over, as RGB; of several images their canvas.

    Raises:
        BadInput: If it is none, or has another size than the one that was explained.
    """
    if isinstance(places, Regions):
        return canvas_for(places, image)
    found = read_image(image)
    if found.size != places.size:
        raise BadInput(
            f"The map belongs to an image of {places.size[0]} × {places.size[1]} pixels and this one has "
            f"{found.size[0]} × {found.size[1]}. The map would be misplaced. Give the image that was explained."
        )
    return found


def sound_for(places: Frames, sound: Any) -> Array:
    """The samples of the sound that a map is laid over.

    Raises:
        BadInput: If it is none, or has another length than the one that was explained.
    """
    samples, rate = read_sound(sound, places.rate if isinstance(sound, np.ndarray) else None)
    if (len(samples), rate) != (places.samples, places.rate):
        raise BadInput(
            f"The map belongs to a sound of {places.samples} samples at {places.rate} per second and this one has "
            f"{len(samples)} at {rate}. Its times would be wrong. Give the sound that was explained."
        )
    return samples


def envelope(samples: Array, columns: int) -> list[tuple[float, float]]:
    """Smallest and largest sample in each of so many equal stretches, divided by the largest of all.

    Example:
        >>> envelope(np.array([0.0, 2.0, -1.0, 0.0]), 2)
        [(0.0, 1.0), (-0.5, 0.0)]
    """
    largest = float(np.abs(samples).max()) or 1.0
    edges = np.linspace(0, len(samples), min(columns, len(samples)) + 1).round().astype(int).tolist()
    parts = [samples[start:stop] / largest for start, stop in pairwise(edges)]
    return [(float(part.min()), float(part.max())) for part in parts]


def ticks(duration: float, most: int = 10) -> list[tuple[float, str]]:
    """Round times for an axis, at most so many and 0, with their labels.

    Example:
        >>> ticks(1.0, 4)
        [(0.0, '0 s'), (0.5, '0.5 s'), (1.0, '1 s')]
    """
    rough = duration / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999999)
    count = int(duration / step * 1.000001)
    return [(number * step, f"{number * step:.6g} s") for number in range(count + 1)]


def refuse_no_place(drawn: Picture) -> Patches | Frames | Regions:
    """The places of a row, which an overlay needs.

    Raises:
        WrongShape: If what is drawn is no single row.
        BadOption: If its tokens are those of a text, or of unknown place.
    """
    places = drawn.keys.places
    if places is None:
        raise BadOption(
            "An overlay was asked for, and the tokens of this map stand in no image or sound: they are text, or came "
            "as tensors whose geometry is unknown. Explain the image or the sound itself; a text is shown by show()."
        )
    if drawn.kind not in ("patches", "frames"):
        raise WrongShape("An overlay shows one row. Choose a layer first: map.layer(-1).overlay(…).")
    return places
