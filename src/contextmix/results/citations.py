"""Which sources an answer cites: a rule over the map of units and sources, and the answer with its footnotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contextmix.errors import BadOption, refuse_kind
from contextmix.maths.whole import index_of, plain
from contextmix.tokens.sections import Section

THRESHOLD = 0.5
"""A source is cited if it has at least this part of the evidence of the strongest source of its unit …"""
LEAST = 0.05
"""… and at least this part of all evidence of the unit, whatever gave it …"""
MOST = 3
"""… and is one of so many."""


class Support(NamedTuple):
    """What a source did for a unit of an answer."""

    text: str
    """The source."""
    value: float
    """In the unit of the method; negative where it speaks against the unit."""
    share: float
    """Its part of all positive evidence of the unit."""
    source: int
    """Its position among the sources."""


@dataclass(frozen=True)
class Citations:
    """Footnotes.

    Attributes:
        notes: The number of the source of each footnote, in order of its first mention.
        of_units: For each unit its footnotes, counted from 1.
    """

    notes: tuple[int, ...]
    of_units: tuple[tuple[int, ...], ...]


def cited(
    shares: NDArray[Any],
    threshold: float = THRESHOLD,
    least: float = LEAST,
    most: int = MOST,
    balance: NDArray[Any] | None = None,
) -> Citations:
    """The sources that stand out. What speaks against an answer is never cited for it.

    Args:
        shares: (unit, source), the part of all positive evidence of the unit that each source gives.
        threshold: Least part of the strongest source's evidence, above 0 and up to 1.
        least: Least share.
        most: Most sources of a unit.
        balance: (unit, source), sums with signs, where a method has them: a source whose sum is not above zero has more
            evidence against the unit than for it, and is not cited.

    Raises:
        BadOption: If a number is not allowed.
        TypeError: If it is none.

    Example:
        >>> cited(np.array([[0.1, 0.6, 0.3], [0.0, 0.0, 0.04]]))
        Citations(notes=(1, 2), of_units=((1, 2), ()))
    """
    for name, part in (("threshold", threshold), ("least", least)):
        refuse_kind(f"cite: {name}", plain(part), int, float)
    most = index_of("cite: most", most)
    if not 0 < threshold <= 1 or not 0 <= least <= 1 or most < 1:
        raise BadOption(
            f"threshold={threshold!r}, least={least!r}, most={most!r}: a source is cited if it has a part of the "
            "strongest one's evidence (above 0, up to 1) and a share of the whole (0 to 1), and at least 1 may be."
        )
    notes: dict[int, int] = {}
    units = []
    for row in np.asarray(shares, dtype=np.float64) * (1 if balance is None else balance > 0):
        order = np.argsort(-row, kind="stable")[:most].tolist()
        chosen = [source for source in order if row[source] > 0 and row[source] >= max(least, threshold * row.max())]
        units.append(tuple(sorted(notes.setdefault(source, len(notes) + 1) for source in chosen)))
    return Citations(tuple(notes), tuple(units))


def footnoted(answer: str, units: Sequence[Section], sources: Sequence[Section], found: Citations, names: bool) -> str:
    """The answer with its footnotes, and below it the sources that they name.

    Args:
        answer: The text.
        units: Its sections.
        sources: All of them.
        found: Which are cited.
        names: Whether to say which text a source is of.
    """
    text, last = "", 0
    for unit, marks in zip(units, found.of_units, strict=True):
        text += answer[last : unit.stop] + "".join(f"[{mark}]" for mark in marks)
        last = unit.stop
    lines = [(text + answer[last:]).strip()]
    for mark, number in enumerate(found.notes, 1):
        source = sources[number]
        of = f" (text {source.document + 1})" if names else ""
        lines.append(f"[{mark}] {' '.join(source.text.split())}{of}")
    return "\n".join([lines[0], "", *lines[1:]] if len(lines) > 1 else lines)


def strongest(sources: Sequence[Section], values: NDArray[Any], shares: NDArray[Any], k: int) -> list[Support]:
    """The k sources that did most for a unit, the strongest first; equal ones in order of the text.

    Args:
        sources: All of them.
        values: (source,), what each did.
        shares: (source,), the part of each.
        k: How many.

    Raises:
        BadOption: If it is less than 1.
    """
    k = index_of("top: k", k)
    if k < 1:
        raise BadOption(f"k={k} would list no sources. Use at least 1.")
    order = np.argsort(-values, kind="stable")[:k].tolist()
    return [Support(sources[place].text, float(values[place]), float(shares[place]), place) for place in order]
