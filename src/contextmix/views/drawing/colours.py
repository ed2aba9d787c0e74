"""From numbers to colours, the same in every view.

Numbers without sign run through one hue (blue), numbers with sign from blue over neutral to red. Both scales change
steadily in lightness and avoid red against green, so they survive colour blindness and a grey print.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Colour = tuple[int, int, int]

# ColorBrewer's Blues and RdBu (Brewer 2003, marked colour-blind safe), with white and the dark page as their zero.
_SCALES = {
    ("light", False): "ffffff deebf7 c6dbef 9ecae1 6baed6 4292c6 2171b5 08519c 08306b",
    ("light", True): "053061 2166ac 4393c3 92c5de d1e5f0 ffffff fddbc7 f4a582 d6604d b2182b 67001f",
    ("dark", False): "16181d 10273f 0f3d66 175a94 2f7dbb 5aa2d6 94c7ea cfe7f7",
    ("dark", True): "cfe7f7 5aa2d6 1f5f95 16344f 16181d 55201c 9c3a2c e37d62 fdd5c5",
}
_INK: dict[str, Colour] = {"black": (0, 0, 0), "white": (255, 255, 255)}


def scaled(values: Array, axis: int | None = None) -> Array:
    """Divide by the largest absolute value; zeros stay zero.

    Args:
        values: Any numbers.
        axis: Divide by the largest along this axis; None: by the largest of all.

    Returns:
        Scores in [-1, 1].

    Example:
        >>> scaled(np.array([1.0, 2.0, 0.0])).tolist()
        [0.5, 1.0, 0.0]
    """
    exact = values.astype(np.float64)
    largest = np.abs(exact).max(axis=axis, keepdims=axis is not None)
    scores: Array = exact / np.where(largest == 0, 1.0, largest)
    return scores


def background(score: float, signed: bool, theme: str = "light") -> str:
    """The colour of a score.

    Args:
        score: From 0 to 1, or from -1 to 1 for numbers with sign.
        signed: Whether numbers of this map have signs.
        theme: ``"light"`` or ``"dark"``: which page the colour stands on.

    Returns:
        A colour such as ``"#08306b"``.

    Example:
        >>> background(0.0, signed=False), background(1.0, signed=False)
        ('#ffffff', '#08306b')
    """
    stops = _SCALES[theme, signed].split()
    place = np.clip((score + 1) / 2 if signed else score, 0, 1) * (len(stops) - 1)
    channels = np.array([_channels(stop) for stop in stops], dtype=np.float64)
    mixed = [round(float(np.interp(place, range(len(stops)), channels[:, channel]))) for channel in range(3)]
    return "#" + bytes(mixed).hex()


def foreground(colour: str) -> str:
    """Black or white, whichever reads better on a colour.

    Args:
        colour: The background, such as ``"#08306b"``.

    Returns:
        ``"#000000"`` or ``"#ffffff"``; the contrast is at least 4.5 to 1 on every background (WCAG, level AA).

    Example:
        >>> foreground("#08306b")
        '#ffffff'
    """
    best = max(_INK.values(), key=lambda ink: contrast("#" + bytes(ink).hex(), colour))
    return "#" + bytes(best).hex()


def contrast(one: str, other: str) -> float:
    """Contrast of two colours (WCAG 2.2): 1 is none, 21 is black on white.

    Example:
        >>> contrast("#000000", "#ffffff")
        21.0
    """
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return round((light + 0.05) / (dark + 0.05), 2)


def _channels(colour: str) -> Colour:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _luminance(colour: str) -> float:
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in _channels(colour)))
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
