"""The origin of a result in words that every view prints the same way."""

from __future__ import annotations

import json

from contextmix.provenance import Provenance
from contextmix.tokens import printable

LONGEST = 2000
"""Most characters of one fact; a report of every layer and head can be longer than the map is interesting."""


def facts(made: Provenance) -> list[tuple[str, str]]:
    """What is known about the origin, as pairs of name and printable text.

    Example:
        >>> facts(Provenance("attention", model="demo", notes={"zero_rows": [0, 1]}))
        [('method', 'attention'), ('model', 'demo'), ('notes', '{"zero_rows": [0, 1]}')]
    """
    said = {
        name: value if isinstance(value, str) else _compact(value) for name, value in made.to_dict().items() if value
    }
    return [(name.replace("_", " "), _short(printable(text))) for name, text in said.items()]


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text)} characters)"
