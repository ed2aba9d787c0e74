"""What an answer lost without some of its sources, and what the model says without them, however the answer is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contextmix.errors import BadFile, BadInput, refuse_entries, refuse_kinds, refuse_named
from contextmix.maths.whole import plain, whole_number
from contextmix.results.grouping import Numbers
from contextmix.results.labels import encodable
from contextmix.tokens.sections import Section, Span


@dataclass(frozen=True, eq=False)
class Losses:
    """What each source of an answer is worth, measured by taking it away.

    Sources and parts are kept as characters. So the numbers hold for every cut of the answer that has such a source,
    and a source that is cut in another way has none.

    Attributes:
        method: What measured them, such as ``"source_occlusion"``.
        away: How a source was taken away: ``"masked"``, ``"deleted"`` or ``"zeroed"``.
        sources: For each source its text (counted from 0), first character, and one past the last.
        values: (row, source): nats of log-probability that are lost without the source; of ``context_cite`` log-odds.
        parts: For each row the part of the answer that it is about; None: one row for each token, and rows add up.
        passes: Runs of the model that they took.
        held_out_lds: Of surrogates, for each row: Spearman's ρ for masks that they were not fitted on.
        says: For some sources, by position: what the model says where its text is deleted.
        own: What it says with all of them; empty where nothing was written again.
    """

    method: str
    away: str
    sources: tuple[tuple[int, int, int], ...]
    values: Numbers
    parts: tuple[Span, ...] | None = None
    passes: int = 0
    held_out_lds: tuple[float | None, ...] = ()
    says: Mapping[int, str] = field(default_factory=dict)
    own: str = ""

    def __post_init__(self) -> None:
        refuse_kinds(self, method=str, away=str, passes=int, own=str, sources=(tuple, list), held_out_lds=(tuple, list))
        refuse_named("Losses: says", self.says, str)
        refuse_entries("Losses: held_out_lds", self.held_out_lds, float, int, type(None))
        parts = None if self.parts is None else _numbered("parts", self.parts, 2)
        for name, value in (
            ("sources", _numbered("sources", self.sources, 3)),
            ("parts", parts),
            ("values", _table(self.values, len(self.sources), None if parts is None else len(parts))),
            ("held_out_lds", tuple(self.held_out_lds)),
            ("says", dict(_said(self.says, len(self.sources)))),
        ):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"<Losses by {self.method} ({self.away}): {len(self.sources)} sources, {self.passes} runs of the model>"

    @property
    def unit(self) -> str:
        """What the numbers are."""
        return "log-odds" if self.method == "context_cite" else "nats"

    @property
    def is_fitted(self) -> bool:
        """Whether a surrogate was fitted, so that rows do not add up."""
        return self.parts is not None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "method": self.method,
            "away": self.away,
            "sources": [list(one) for one in self.sources],
            "values": self.values.tolist(),
            "parts": None if self.parts is None else [list(one) for one in self.parts],
            "passes": self.passes,
            "held_out_lds": list(self.held_out_lds),
            "says": {str(place): text for place, text in self.says.items()},
            "own": self.own,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Losses:
        """The inverse of `to_dict`; raises `BadFile` if a field is missing, of another type, or does not fit."""
        names = ("method", "away", "sources", "values", "parts", "passes", "held_out_lds", "own")
        try:
            says = {int(place): text for place, text in document["says"].items()}
            return cls(**{name: document[name] for name in names}, says=says)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, BadInput) as reason:
            raise BadFile(f"What it says of losses without sources is broken. {reason}") from reason


def lost_without(losses: Losses, units: Sequence[Section], rows: Numbers, sources: Sequence[Section]) -> Numbers:
    """(unit, source) for a cut of the answer; not a number where it was not measured.

    Args:
        losses: Of the answer.
        units: Sections of the answer.
        rows: (unit, token of the answer): 1 where the token is part of the unit.
        sources: Sections of its texts.
    """
    known = {one: place for place, one in enumerate(losses.sources)}
    columns = [known.get(_key(one)) for one in sources]
    found = np.full((len(units), len(sources)), np.nan)
    there = [place for place, column in enumerate(columns) if column is not None]
    taken = _of_units(losses, units, rows)
    found[:, there] = taken[:, [column for column in columns if column is not None]]
    return found


def says_without(losses: Losses, sources: Sequence[Section]) -> dict[int, str]:
    """What the model says without sources, by their positions in another cut."""
    known = {losses.sources[place]: text for place, text in losses.says.items()}
    return {place: known[_key(one)] for place, one in enumerate(sources) if _key(one) in known}


def lds_of(losses: Losses, units: Sequence[Section]) -> list[float | None]:
    """Of surrogates: how well each unit's predicts masks that it was not fitted on; None where nobody knows."""
    known = dict(zip(losses.parts or (), losses.held_out_lds, strict=False))
    return [known.get(one.span) for one in units]


def _of_units(losses: Losses, units: Sequence[Section], rows: Numbers) -> Numbers:
    """(unit, source), for the sources that were measured."""
    if losses.parts is None:
        found: Numbers = rows @ losses.values
        return found
    known = {one: place for place, one in enumerate(losses.parts)}
    nothing = np.full(len(losses.sources), np.nan)
    lines = [losses.values[known[one.span]] if one.span in known else nothing for one in units]
    return np.array(lines).reshape(len(units), len(losses.sources))


def table_without(losses: Losses, sources: Sequence[Section], lost: Numbers) -> list[dict[str, Any]]:
    """A line per source: what the whole answer loses without it, and what the model says then.

    Args:
        losses: Of the answer.
        sources: Those of the answer.
        lost: (source,).
    """
    says, own = says_without(losses, sources), losses.own.strip()
    return [
        {
            "source": place,
            "source_text": encodable(one.text),
            "document": one.document,
            "lost": float(lost[place]),
            "unit": losses.unit,
            "says": encodable(says[place]) if place in says else None,
            "changed": says[place].strip() != own if place in says else None,
        }
        for place, one in enumerate(sources)
    ]


def _key(one: Section) -> tuple[int, int, int]:
    return one.document, one.start, one.stop


def _numbered(name: str, entries: Any, size: int) -> tuple[Any, ...]:
    """Tuples of whole numbers."""
    rows = plain(entries)
    if not isinstance(rows, list | tuple):
        raise TypeError(f"Losses: {name} must be a list; got {type(entries).__name__}.")
    found = [tuple(map(whole_number, one)) if isinstance(one, list | tuple) else () for one in rows]
    if any(len(one) != size or None in one for one in found) or len(set(found)) < len(found):
        raise BadInput(f"Losses: {name} are {size} whole numbers each, and none of them twice.")
    return tuple(found)


def _table(values: Any, sources: int, parts: int | None) -> Numbers:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise BadInput("Losses: values are numbers, (row, source).") from None
    if found.ndim != 2 or found.shape[1] != sources or parts not in (None, len(found)) or not np.isfinite(found).all():
        rows = "a row for each token of the answer" if parts is None else f"{parts} rows"
        raise BadInput(f"Losses: values are finite numbers, {rows} and {sources} columns; got {found.shape}.")
    return found


def _said(says: Mapping[Any, str], sources: int) -> list[tuple[int, str]]:
    found = [(whole_number(place), text) for place, text in says.items()]
    for place, _ in found:
        if place is None or not 0 <= place < sources:
            raise BadInput(f"Losses: says names a source that is none of {sources}.")
    return sorted((place, text) for place, text in found if place is not None)
