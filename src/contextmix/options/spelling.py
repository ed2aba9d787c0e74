"""How the command line writes what is no plain text or number: names, tokens, layers, options of methods, sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from contextmix.errors import BadOption
from contextmix.options.option import Spelling


def names_of(text: str, _: str = "") -> list[str]:
    """Names with commas, as plug-ins write them.

    Example:
        >>> names_of("globenc, value-zeroing")
        ['globenc', 'value_zeroing']
    """
    return [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]


def token_of(text: str, _: str = "") -> int | str:
    """A token by its position, or by its text.

    Example:
        >>> token_of("-1"), token_of("film")
        (-1, 'film')
    """
    return int(text) if re.fullmatch("-?[0-9]+", text) else text


def layers_of(text: str, flag: str = "--layers") -> Any:
    """Numbers of blocks, or all.

    Example:
        >>> layers_of("0,-1"), layers_of("all")
        ([0, -1], 'all')
    """
    if text == "all":
        return text
    try:
        return [int(layer) for layer in text.split(",")]
    except ValueError:
        raise BadOption(f"{flag} takes 'all' or numbers with commas such as 0,5 or -1; got {text!r}.") from None


def numbers_of(text: str, flag: str = "--passes") -> list[int]:
    """Whole numbers with commas, or none.

    Example:
        >>> numbers_of("16,32"), numbers_of("none")
        ([16, 32], [])
    """
    try:
        return [] if text == "none" else [int(number) for number in text.split(",")]
    except ValueError:
        raise BadOption(f"{flag} takes whole numbers with commas such as 16,32, or none; got {text!r}.") from None


def options_of(texts: Sequence[str], flag: str = "--option") -> dict[str, Any]:
    """``name=value`` texts as options; a value is read as JSON where it is JSON, such as 3, true or [0,1].

    Example:
        >>> options_of(["distance=euclidean", "normalise=true"])
        {'distance': 'euclidean', 'normalise': True}
    """
    found: dict[str, Any] = {}
    for one in texts:
        name, sign, value = one.partition("=")
        if not sign:
            raise BadOption(f"{flag} takes name=value, such as distance=euclidean; got {one!r}.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def options_by_owner(texts: Sequence[str], names: Sequence[str], flag: str = "--option") -> dict[str, dict[str, Any]]:
    """``name.option=value`` texts; where there is one name it may be left out.

    Example:
        >>> options_by_owner(["aopc.steps=5"], ["aopc", "log_odds"])
        {'aopc': {'steps': 5}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        owner, dot, rest = text.partition("=")[0].partition(".")
        if dot:
            own = options_of([rest + text[len(owner) + 1 + len(rest) :]])
        elif len(names) == 1:
            owner, own = names[0], options_of([text])
        else:
            raise BadOption(
                f"{flag} {text!r} does not say which one it belongs to. Write NAME.{text}, where NAME is "
                f"one of {', '.join(names)}."
            )
        found.setdefault(owner.replace("-", "_"), {}).update(own)
    return found


def places_of(text: str, flag: str = "--device-map") -> Any:
    """One word for the whole model, or a table of modules and places in JSON.

    Example:
        >>> places_of("auto"), places_of('{"model": "cpu", "lm_head": "disk"}')
        ('auto', {'model': 'cpu', 'lm_head': 'disk'})
    """
    if not text.lstrip().startswith("{"):
        return text
    try:
        found: Any = json.loads(text)
    except ValueError as reason:
        raise BadOption(
            f"{flag} takes auto, balanced, sequential, a device, or a table in JSON such as "
            f'{{"model.layers.0": 0, "lm_head": "disk"}}; cannot read this one: {reason}.'
        ) from None
    return found


NAMES = Spelling(str, names_of, "Separate several with commas.")
ALL_OR_NAMES = Spelling(
    str, lambda text, flag: "all" if names_of(text) == ["all"] else names_of(text), "Separate several with commas."
)
TOKEN = Spelling(str, token_of)
LAYERS = Spelling(str, layers_of)
PLACES = Spelling(str, places_of)
PAIRS = Spelling(list[str], options_of, "Repeatable.")
NUMBER = Spelling(int, lambda number, flag: number)
NUMBERS = Spelling(str, numbers_of, "Separate several with commas; 'none' for none.")
TEXT = Spelling(str, lambda text, flag: text)
TEXTS = Spelling(list[str], lambda texts, flag: texts, "Repeatable.")
"""Kept as texts: `options_by_owner` reads them once the names are known."""
MIB = Spelling(int, lambda count, flag: count * 2**20, "In MiB.")
