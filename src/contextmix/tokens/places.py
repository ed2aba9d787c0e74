"""Where tokens that are no text stand: patches in an image, frames in a sound, parts of images in a prompt.

Places are geometry alone: they hold no pixel and no sample, so a stored result stays small and shows nobody's photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contextmix.errors import BadFile, WrongShape
from contextmix.tokens.regions import Box, Regions


@dataclass(frozen=True)
class Patches:
    """The tokens of an image: cells of a grid that covers a window of it.

    Example:
        >>> patches = Patches(size=(200, 100), grid=(2, 2), window=(50, 0, 150, 100), cells=(None, (0, 0), (0, 1)))
        >>> patches.box(2), patches.box(0)
        ((100.0, 0.0, 150.0, 50.0), None)
    """

    size: tuple[int, int]
    """Width and height of the image, in pixels."""
    grid: tuple[int, int]
    """Rows and columns."""
    window: Box
    """What the grid covers: less than the image where the processor cropped, more where it padded."""
    cells: tuple[tuple[int, int] | None, ...]
    """Row and column of each token, from 0 at the top left; None for special tokens, which are nowhere."""

    def __post_init__(self) -> None:
        for name in ("size", "grid", "window"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "cells", tuple(None if cell is None else tuple(cell) for cell in self.cells))
        rows, columns = self.grid
        inside = [cell for cell in self.cells if cell is not None]
        if len(set(inside)) < len(inside) or not all(0 <= r < rows and 0 <= c < columns for r, c in inside):
            raise WrongShape(
                f"Patches must be different cells of a grid of {rows} × {columns}; these are {inside!r:.60}. A map "
                "would be drawn on the wrong part of the image."
            )
        (left, top, right, bottom), (width, height) = self.window, self.size
        if min(width, height) < 1 or not (left < right and top < bottom):
            raise WrongShape(f"The window {self.window} of an image of {self.size} pixels is empty.")

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        (rows, columns), (width, height) = self.grid, self.size
        return f"<Patches: {len(self)} tokens in {rows} × {columns} patches of an image of {width} × {height} pixels>"

    def box(self, token: int) -> Box | None:
        """The pixels of one token, cut at the edges of the image; None if it is nowhere in it."""
        cell = self.cells[token]
        if cell is None:
            return None
        (left, right), (top, bottom) = (self._edges(axis, cell[1 - axis]) for axis in (0, 1))
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _edges(self, axis: int, number: int) -> tuple[float, float]:
        start, stop, count, size = self.window[axis], self.window[axis + 2], self.grid[1 - axis], self.size[axis]
        near, far = (start + (stop - start) * edge / count for edge in (number, number + 1))
        return max(near, 0.0), min(far, float(size))

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        cells = [None if cell is None else list(cell) for cell in self.cells]
        lists = {name: list(getattr(self, name)) for name in ("size", "grid", "window")}
        return {"kind": "patches", **lists, "cells": cells}


@dataclass(frozen=True)
class Frames:
    """The tokens of a sound: windows of equal length at equal steps, counted in samples.

    Example:
        >>> frames = Frames(rate=16000, samples=16000, step=320, first=0, reach=400, numbers=(0, 1))
        >>> frames.duration, frames.time(1)
        (1.0, (0.02, 0.045))
    """

    rate: int
    """Samples per second."""
    samples: int
    """Length of the sound. Frames beyond it hear what the processor added."""
    step: int
    """Samples from one frame to the next."""
    first: int
    """The sample where the window of frame 0 begins; below 0 where it is centred on the first one."""
    reach: int
    """Length of a window: what the convolutions let into one frame."""
    numbers: tuple[int | None, ...]
    """Which frame each token is, from 0; None for special tokens, which are at no time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", tuple(self.numbers))
        given = [number for number in self.numbers if number is not None]
        positive = min(self.rate, self.samples, self.step, self.reach) > 0
        if len(set(given)) < len(given) or min(given, default=0) < 0 or not positive:
            raise WrongShape(
                "Frames need different numbers from 0 on, and a rate, length, step and reach above 0; got "
                f"{given!r:.40}, {self.rate}, {self.samples}, {self.step} and {self.reach}. A map would be drawn at "
                "the wrong time."
            )

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        step = 1000 * self.step / self.rate
        return f"<Frames: {len(self)} tokens of a sound of {self.duration:.2f} s, one each {step:g} ms>"

    @property
    def duration(self) -> float:
        """Length of the sound, in seconds."""
        return self.samples / self.rate

    def time(self, token: int) -> tuple[float, float] | None:
        """When the window of one token begins and ends, in seconds; it begins at 0 at the earliest."""
        number = self.numbers[token]
        start = self.first + self.step * (number or 0)
        return None if number is None else (max(start, 0) / self.rate, (start + self.reach) / self.rate)

    def slot(self, token: int) -> tuple[float, float] | None:
        """The step around the middle of its window, in seconds: slots of neighbours touch, where windows overlap."""
        number = self.numbers[token]
        edge = self.first + (self.reach - self.step) / 2 + self.step * (number or 0)
        return None if number is None else (max(edge, 0.0) / self.rate, (edge + self.step) / self.rate)

    def is_added(self, token: int) -> bool:
        """Whether the window of a token lies wholly behind the sound, in what the processor added."""
        number = self.numbers[token]
        return number is not None and self.first + self.step * number >= self.samples

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        names = ("rate", "samples", "step", "first", "reach")
        return {"kind": "frames", **{name: getattr(self, name) for name in names}, "numbers": list(self.numbers)}


Places = Patches | Frames | Regions


def where(places: Places) -> tuple[Any, ...]:
    """For each token its patch, frame or region; None for one that is nowhere."""
    own: tuple[Any, ...] = getattr(places, _FIELD[type(places)])
    return own


def placed(places: Places | None, found: Sequence[Any]) -> Places | None:
    """The same places for other tokens; None where none of them is anywhere.

    Args:
        places: Of an image, a sound or a prompt.
        found: For each token an entry of `where`, or None.

    Example:
        >>> placed(Frames(16000, 16000, 320, 0, 400, (0, 1)), [1]).numbers
        (1,)
    """
    if places is None or all(one is None for one in found):
        return None
    own: Any = places
    moved: Places = replace(own, **{_FIELD[type(places)]: tuple(found)})
    return moved


_FIELD: dict[type, str] = {Patches: "cells", Frames: "numbers", Regions: "boxes"}


def places_from_dict(fields: Any) -> Places:
    """The inverse of ``to_dict``.

    Args:
        fields: What it gave, also after a trip through JSON.

    Raises:
        BadFile: If a field is missing or holds something else.

    Example:
        >>> frames = Frames(16000, 16000, 320, 0, 400, (0, 1))
        >>> places_from_dict(frames.to_dict()) == frames
        True
    """
    kind = fields.get("kind") if isinstance(fields, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadFile(f"The places of the tokens are neither patches nor frames nor regions: {fields!r:.60}.")
    made, known = _KINDS[kind]
    if more := sorted(fields.keys() - known.keys() - {"kind"}):
        raise BadFile(f"The places of the tokens, {kind}, have no field {more[0]!r:.60}.")
    for name, fits in known.items():
        if name not in fields or not fits(fields[name]):
            held = f"{fields.get(name)!r:.60}"
            raise BadFile(f"The places of the tokens, {kind}, need a field {name!r} of the right type: {held}.")
    try:
        found: Places = made(**{name: fields[name] for name in known})
    except (TypeError, ValueError, WrongShape) as reason:
        raise BadFile(f"The places of the tokens do not fit together: {reason}") from reason
    return found


Fits = Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and math.isfinite(value))


def _list_of(fits: Fits, length: int | None = None) -> Fits:
    return lambda value: isinstance(value, list | tuple) and length in (None, len(value)) and all(map(fits, value))


def _maybe(fits: Fits) -> Fits:
    return lambda value: value is None or fits(value)


def _is_region(value: Any) -> bool:
    return _list_of(_real, 5)(value) and _whole(value[0])


_PAIR = _list_of(_whole, 2)
_KINDS: dict[str, tuple[Any, dict[str, Fits]]] = {
    "patches": (
        Patches,
        {"size": _PAIR, "grid": _PAIR, "window": _list_of(_real, 4), "cells": _list_of(_maybe(_PAIR))},
    ),
    "regions": (
        Regions,
        {"sizes": _list_of(_PAIR), "boxes": _list_of(_maybe(_is_region))},
    ),
    "frames": (
        Frames,
        {
            **dict.fromkeys(("rate", "samples", "step", "first", "reach"), _whole),
            "numbers": _list_of(_maybe(_whole)),
        },
    ),
}
