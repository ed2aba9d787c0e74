"""The tokens of an exhibit: how they read, where they stand, and the image or the sound that they are part of."""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

import numpy as np

from contextmix.errors import BadOption
from contextmix.tokens.pieces import Tokens, printable
from contextmix.tokens.places import Frames, Patches
from contextmix.tokens.regions import Regions
from contextmix.views.drawing.running_text import spelled
from contextmix.views.drawing.scene import envelope, image_for, sound_for
from contextmix.views.drawing.side_by_side import on_canvas
from contextmix.views.page.vector import data_uri, size_of

WAVE = 1000
"""Stretches of a sound, of which the lowest and highest sample are kept."""
PLAYED = 16_000
"""Most samples per second of a sound that is played in a page."""
LONGEST = 60
"""Seconds; a longer sound is drawn and not played."""


def axis(tokens: Tokens) -> dict[str, Any]:
    """The labels of an axis: ``gaps`` and ``pieces`` in turn read as the text does, ``tokens`` are as they were cut.

    Example:
        >>> result = axis(Tokens(("deep", "##ly"), words=(0, 0)))
        >>> result["pieces"], result["gaps"], result["tokens"]
        (['deep', 'ly'], ['', ''], ['deep', '##ly'])
    """
    gaps, pieces = zip(*spelled(tokens), strict=True)
    return {
        "pieces": list(pieces),
        "gaps": list(gaps),
        "tokens": list(map(printable, tokens.pieces)),
        "special": [position for position, special in enumerate(tokens.special) if special],
        "words": None if tokens.words is None else list(tokens.words),
        "places": _places(tokens),
    }


def media(tokens: Tokens, over: Any = None) -> dict[str, Any] | None:
    """The image or the sound below the scores; None for a text.

    Args:
        tokens: With their places.
        over: The image or the sound that was explained; left out, its size or length alone is said.

    Raises:
        BadInput: If it is not the one that was explained.
        BadOption: If one was given for a text.
    """
    places = tokens.places
    if isinstance(places, Patches | Regions):
        source = "" if over is None else data_uri(image_for(places, over), "RGB")
        width, height = places.size if isinstance(places, Patches) else size_of(places)
        return {"kind": "image", "source": source, "width": width, "height": height}
    if isinstance(places, Frames):
        if over is None:
            return {"kind": "sound", "seconds": places.duration, "wave": [], "source": ""}
        samples = sound_for(places, over)
        outline = [_rounded(*pair) for pair in envelope(samples, WAVE)]
        return {"kind": "sound", "seconds": places.duration, "wave": outline, "source": _heard(samples, places.rate)}
    if over is not None:
        raise BadOption("Cannot show scores over an image or a sound: the tokens of these maps are text.")
    return None


def _heard(samples: Any, rate: int) -> str:
    """A sound as text that a page can hold and play; empty where it is longer than that is worth.

    8 bits and at most 16,000 samples per second: one minute is 1.3 MB of text, and speech stays clear.
    """
    step = -(-rate // PLAYED)
    if len(samples) > LONGEST * rate:
        return ""
    heard = (
        samples[: len(samples) // step * step].reshape(-1, step).mean(1)
    )  # a mean keeps what is too high from folding
    largest = float(np.abs(heard).max(initial=0.0)) or 1.0
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(round(rate / step))
        file.writeframes((127.5 + 127 * heard / largest).round().astype(np.uint8).tobytes())
    return "data:audio/wav;base64," + base64.b64encode(data.getvalue()).decode()


def named(tokens: Tokens) -> str:
    """What an input without a text of its own is called."""
    kinds = {Patches: "an image", Frames: "a sound", Regions: "a prompt with images"}
    found: str = kinds.get(type(tokens.places), "")
    return found or "".join(gap + piece for gap, piece in spelled(tokens))


def _places(tokens: Tokens) -> list[list[float] | None] | None:
    """Where each token stands: [left, top, width, height] in parts of the image, or [start, end] in seconds."""
    places = on_canvas(tokens.places)
    if isinstance(places, Patches | Regions):
        width, height = places.size if isinstance(places, Patches) else places.sizes[0]
        boxes = [places.box(token) for token in range(len(places))]
        return [
            None
            if box is None
            else _rounded(box[0] / width, box[1] / height, (box[2] - box[0]) / width, (box[3] - box[1]) / height)
            for box in boxes
        ]
    if isinstance(places, Frames):
        slots = [places.slot(token) for token in range(len(places))]
        end = places.duration
        return [None if slot is None or slot[0] >= end else _rounded(slot[0], min(slot[1], end)) for slot in slots]
    return None


def _rounded(*numbers: float) -> list[float]:
    return [round(float(number), 5) for number in numbers]
