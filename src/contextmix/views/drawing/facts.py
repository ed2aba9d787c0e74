"""The origin of a result in words that every view prints the same way."""

from __future__ import annotations

import json
import re

from contextmix.results.provenance import Provenance
from contextmix.tokens.pieces import printable

NOT_CHECKED = "not applicable"
"""Said of checks where none was made: nothing shows as an error of zero that nobody measured."""
LONGEST = 2000
"""Most characters of one fact; a report of every layer and head can be longer than the map is interesting."""


def facts(made: Provenance) -> list[tuple[str, str]]:
    """What is known about the origin, as pairs of name and printable text.

    Example:
        >>> facts(Provenance("attention", model="demo", notes={"zero_rows": [0, 1]}))
        [('method', 'attention'), ('model', 'demo'), ('checks', 'not applicable'), ('notes', '{"zero_rows": [0, 1]}')]
    """
    known = {"caution": made.caution, **made.to_dict(), "checks": made.checks or NOT_CHECKED}
    said = {name: value if isinstance(value, str) else _compact(value) for name, value in known.items() if value}
    return [(name.replace("_", " "), _short(printable(text))) for name, text in said.items()]


def model_name(model: str) -> str:
    """What a heading calls a model: of a folder its last part, as where it lies is not for whom a page is sent to.

    Example:
        >>> model_name("/drafts/of/my-model/"), model_name("microsoft/deberta-v3-base")
        ('my-model', 'microsoft/deberta-v3-base')
    """
    on_hub = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", model)
    return model if on_hub else re.split(r"[/\\]", model.rstrip("/\\"))[-1] or model


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text)} characters)"
