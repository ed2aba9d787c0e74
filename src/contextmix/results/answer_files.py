"""The file format of answers: readable JSON, complete.

This file knows the format alone: `Answer` hands over its arguments, and takes them back through `Filed`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from contextmix.errors import BadFile, ContextMixError
from contextmix.maths.whole import whole_number
from contextmix.results import documents
from contextmix.results.files import write_atomically
from contextmix.results.losses import Losses
from contextmix.results.token_map import TokenMap
from contextmix.tokens.passages import Passage
from contextmix.tokens.thoughts import Thoughts

FORMAT = "contextmix.answer"
SCHEMA = 1


class Filed:
    """A dataclass of these arguments, which can be written down and read."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return as_document(self._arguments())

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; raises `BadFile` if a field is missing, of another type, or does not fit."""
        found: Self = built(document, cls)
        return found

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an answer that `save` wrote as ``.json``; raises `BadFile` if it is missing or anything else."""
        found: Self = documents.read(path, cls.from_dict)
        return found

    def _arguments(self) -> dict[str, Any]:
        """What the constructor makes this answer of."""
        return {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]


def write(arguments: Mapping[str, Any], path: Path | str, overwrite: bool = False) -> None:
    """Write an answer to a ``.json`` file.

    Args:
        arguments: What `Answer` is made of.
        path: The file.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If it cannot be written.
    """
    lines = (f"{_json(name)}: {_json(value)}" for name, value in as_document(arguments).items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    write_atomically(path, text.encode("utf-8", "backslashreplace"), overwrite)


def as_document(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that an answer holds, as JSON values under the names of its constructor's arguments."""
    signed, thinking, losses = arguments["signed"], arguments["thinking"], arguments["losses"]
    kept = {
        "losses": None if losses is None else losses.to_dict(),
        "passages": [one.to_dict() for one in arguments["passages"]],
        "token_map": arguments["token_map"].to_dict(),
        "signed": None if signed is None else signed.to_dict(),
        "thinking": thinking and thinking.to_dict(),
    }
    plain = json.loads(json.dumps({name: value for name, value in arguments.items() if name not in kept}))
    return {"format": FORMAT, "schema": SCHEMA, **plain, **kept}


def built(document: Mapping[str, Any], build: Callable[..., Any]) -> Any:
    """The inverse of `as_document`; every field is checked, and `BadFile` says which one is wrong.

    Args:
        document: What `as_document` gave, also after a trip through JSON.
        build: The constructor, which gets the arguments.
    """
    if not isinstance(document, Mapping) or not _is_text(document.get("format"), FORMAT):
        raise BadFile(f"It does not say that its format is {FORMAT!r}.")
    if whole_number(document.get("schema")) != SCHEMA:
        raise BadFile(
            f"Its schema is {document.get('schema')!r:.40} and this version of contextmix reads up to {SCHEMA}."
        )
    document = {**_ADDED, **document}
    for name, fits in _FIELDS.items():
        if name not in document or not fits(document[name]):
            raise BadFile(f"The field {name!r} is missing or of the wrong type: {document.get(name)!r:.60}.")
    try:
        return build(**_arguments(document))
    except (ContextMixError, ValueError, TypeError, OverflowError) as reason:
        raise BadFile(f"Its fields do not fit each other. {reason}") from reason


def _arguments(document: Mapping[str, Any]) -> dict[str, Any]:
    signed = None if document["signed"] is None else TokenMap.from_dict(document["signed"])
    maps = {"token_map": TokenMap.from_dict(document["token_map"]), "signed": signed}
    passages = tuple(Passage.from_dict(one) for one in document["passages"])
    told = document.get("losses")  # files of before have none
    losses = None if told is None else Losses.from_dict(told)
    pairs = {name: document[name] and tuple(document[name]) for name in ("question", "dependence")}
    rest = {name: document[name] for name in ("begins", "sources_by", "units_by", "rows", "hops")}
    thinking = document["thinking"] and Thoughts.from_dict(document["thinking"])
    return {**rest, **pairs, **maps, "passages": passages, "thinking": thinking, "losses": losses}


def _json(value: Any) -> str:
    # Broken texts hold lone surrogates; see contextmix.results.documents.
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _is_text(value: Any, *texts: str) -> bool:
    return isinstance(value, str) and value in texts


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, int | float) for one in value)


def _is_cut(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, list | tuple) and all(map(_numbers, value)))


_ADDED = {"thinking": None, "hops": 1}
"""What files of versions that knew no thoughts do not hold."""
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "begins": lambda value: isinstance(value, int),
    "rows": lambda value: _is_text(value, "sum", "mean"),
    "sources_by": _is_cut,
    "units_by": _is_cut,
    "question": lambda value: value is None or (_numbers(value) and len(value) == 2),
    "dependence": lambda value: value is None or _numbers(value),
    "passages": lambda value: isinstance(value, list | tuple),
    "token_map": lambda value: isinstance(value, Mapping),
    "signed": lambda value: value is None or isinstance(value, Mapping),
    "thinking": lambda value: value is None or isinstance(value, Mapping),
    "hops": lambda value: isinstance(value, str | int),
}
