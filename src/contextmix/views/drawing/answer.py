"""What of an answer is shown, and the words that go with it: decided once, drawn by each view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from contextmix.results.answer import ELSEWHERE, THOUGHTS, Answer
from contextmix.results.citations import LEAST, MOST, THRESHOLD
from contextmix.results.provenance import Quantity
from contextmix.tokens.passages import Passage
from contextmix.tokens.pieces import printable
from contextmix.tokens.sections import Section
from contextmix.views.drawing.colours import Array, scaled
from contextmix.views.drawing.facts import model_name
from contextmix.views.drawing.losses import Without, told_of_losses, without

NAMES = (*ELSEWHERE, THOUGHTS)
"""What else made an answer beside its sources; the last one of answers with thoughts alone."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a text.

    Attributes:
        text: As it stands there, printable but for its line breaks.
        number: Of the unit or source that it is; None for what stands between.
        notes: Footnotes behind it.
        is_cut: Whether the prompt did not hold it.
    """

    text: str
    number: int | None = None
    notes: tuple[int, ...] = ()
    is_cut: bool = False


@dataclass(frozen=True)
class Report:
    """An answer ready to be drawn. Its last row of numbers is the whole answer.

    Attributes:
        answer: The text in pieces.
        documents: Name and pieces of each text.
        question: What was asked; empty where that is among the texts.
        notes: The number of the source of each footnote.
        scores: (unit + 1, source), each row divided by its largest, in [-1, 1].
        shares: (unit + 1, source).
        elsewhere: (unit + 1, 3), as `NAMES` names them; 4 with thoughts.
        signed: Whether sources may speak against a unit.
        sums: (unit + 1, source) with signs, where the method has them.
        depends: For each row how far its tokens depend on the texts, in nats, the most of them; None if not measured.
        units: Label of each row, the last ``the whole answer``.
        chances: For each row how probable its tokens were, and how far they depend on the texts, in words.
        told: Sentences: what was measured, what is cited, who wrote the answer.
        thoughts: What the model thought before it answered; empty where it thought nothing.
        without: What taking sources away showed; None where none were.
    """

    answer: tuple[Piece, ...]
    documents: tuple[tuple[str, tuple[Piece, ...]], ...]
    question: str
    notes: tuple[int, ...]
    scores: Array
    shares: Array
    elsewhere: Array
    signed: bool
    sums: Array | None
    depends: tuple[float, ...] | None
    units: tuple[str, ...]
    chances: tuple[str, ...]
    told: tuple[str, ...]
    thoughts: str = ""
    without: Without | None = None

    def without_it(self, source: int) -> str:
        """What is known of the answer without a source; empty where nothing is."""
        return "" if self.without is None else self.without.sentence(source)


def reported(found: Answer) -> Report:
    """Choose what to draw.

    Example:
        >>> import contextmix as cm
        >>> texts = ["Tom has the blue kite.", "Lily has the red ball."]
        >>> result = cm.load("demo-answers").explain_answer("Who has the red ball?", texts)
        >>> [(one.text, one.number) for one in reported(result).answer]
        [('Lily has the red ball.', 0)]
    """
    whole = found.by(units="whole")
    values = np.concatenate([found.values, whole.values])
    cited = found.citations()
    notes = {unit: marks for unit, marks in enumerate(cited.of_units)}
    taken = without(found, whole)
    return Report(
        answer=tuple(_without_space(list(_pieces(found.text, found.units, notes)))),
        documents=tuple(_documents(found)),
        question="" if found.question is None else readable(found.prompt[slice(*found.question)]),
        notes=cited.notes,
        scores=scaled(values, axis=1),
        shares=np.concatenate([found.shares, whole.shares]),
        elsewhere=np.concatenate([found.shares_elsewhere, whole.shares_elsewhere]),
        signed=found.token_map.quantity is Quantity.SIGNED or bool(values.min() < 0),
        units=(*(_line(one.text) for one in found.units), "the whole answer"),
        sums=_sums(found, whole),
        depends=None if found.dependence is None else (*_depends(found), *_depends(whole)),
        chances=(*_chances(found), *_chances(whole)),
        told=tuple(map(printable, (*_told(found), *told_of_losses(found, taken)))),
        thoughts=readable(found.thoughts or ""),
        without=taken,
    )


def readable(text: str) -> str:
    """Printable text that keeps its line breaks and tabs."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join("\t".join(printable(part) if part else "" for part in line.split("\t")) for line in lines)


def parts_of(shares: Array, elsewhere: Array) -> Iterator[tuple[str, float]]:
    """Where the evidence of a unit comes from: the sources together, and what no source gave.

    Args:
        shares: (source,).
        elsewhere: (3,), or 4 with thoughts.
    """
    yield "sources", float(shares.sum())
    yield from zip(NAMES[: len(elsewhere)], elsewhere.tolist(), strict=True)


def _pieces(
    text: str, sections: Sequence[Section], notes: dict[int, tuple[int, ...]] | None = None, first: int = 0
) -> Iterator[Piece]:
    """A text as its sections and what stands between them."""
    last = 0
    for place, one in enumerate(sections, first):
        if one.start > last:
            yield Piece(_spaced(text[last : one.start]))
        yield Piece(readable(one.text), place, (notes or {}).get(place, ()))
        last = one.stop
    if last < len(text):
        yield Piece(_spaced(text[last:]))


def _sums(found: Answer, whole: Answer) -> Array | None:
    if found.signed_values is None or whole.signed_values is None:
        return None
    return np.concatenate([found.signed_values, whole.signed_values])


def _chances(found: Answer) -> Iterator[str]:
    """For each unit how probable its tokens were at least, and how far one of them depends on the texts at most."""
    told = [f"Probability of its tokens: from {chance:.0%}." for chance in _of_units(found, "probability")]
    if found.dependence is None:
        yield from told
        return
    for one, nats in zip(told, _depends(found), strict=True):
        yield f"{one} Dependence of one of them on the texts: up to {nats:.2f} nats."


def _depends(found: Answer) -> list[float]:
    return [-least for least in _of_units(found, "dependence", -1)]


def _of_units(found: Answer, name: str, sign: int = 1) -> list[float]:
    """The smallest number of the tokens of each unit, times a sign."""
    table = found.tokens()
    within = [(table["start"] < one.stop) & (table["stop"] > one.start) for one in found.units]
    return [float((sign * table.loc[own.fillna(False), name]).min()) for own in within]


def _without_space(pieces: list[Piece]) -> list[Piece]:
    """Pieces of an answer without the space that joined it to the prompt."""
    return pieces[1:] if pieces[0].number is None and pieces[0].text.isspace() else pieces


def _documents(found: Answer) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    first = 0
    for number, one in enumerate(found.passages):
        own = [each for each in found.sources if each.document == number]
        kept = _kept(one, own, found.cut)
        pieces = list(_pieces(one.text[:kept], own, first=first))
        rest = one.text[kept:]
        cut = [Piece(readable(rest), is_cut=bool(rest.strip()))] if rest else []
        first += len(own)
        yield _name(one, number, len(found.passages)), (*pieces, *cut)


def _kept(one: Passage, own: Sequence[Section], cut: Sequence[Section]) -> int:
    """Where what was cut away begins."""
    return len(one.text) if not cut or one.length == len(one.text) else max((each.stop for each in own), default=0)


def _name(one: Passage, number: int, count: int) -> str:
    return printable(one.name) if one.name else f"Text {number + 1}" if count > 1 else "Text"


def _spaced(text: str) -> str:
    """What stands between sections: white space as it is, and other signs readable."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if text.isspace() else readable(text)


def _line(text: str) -> str:
    return printable(" ".join(text.split()))


def _told(found: Answer) -> Iterator[str]:
    made, quantity = found.provenance, found.token_map.quantity
    joined = "mean over the tokens of a part" if found.rows == "mean" else "sum over the tokens of a part"
    yield f"{made.title} · {quantity}: {quantity.meaning} · {joined} · {model_name(made.model)}"
    yield (
        f"Cited: a source with at least {THRESHOLD:.0%} of the evidence of the strongest one and {LEAST:.0%} of all "
        f"evidence, up to {MOST} for each part of the answer. Sources that count against a part are not cited."
    )
    if found.thinking is not None:
        yield f"The model wrote thoughts before the answer. {_passed(found)}"
    note = made.notes.get("answer", {})
    if note.get("by") == "the model":
        yield f"The model wrote the answer; it ended by {note.get('stopped', 'its own rules')}."
    elif note:
        yield "The answer was supplied, not written by the model."
    if found.token_map.quantity is Quantity.SIGNED:
        yield "Red sources speak for a part of the answer, blue ones against it; shares are of what speaks for it."
    if found.cut:
        yield f"{len(found.cut)} sources did not fit into the prompt, from “{_line(found.cut[0].text)[:60]}” on."


def _passed(found: Answer) -> str:
    """What became of what an answer drew from its thoughts."""
    if found.hops == 0:
        return f"What it drew from them is shown as {THOUGHTS} and not traced back."
    times = "as often as it takes" if found.hops == "all" else "once" if found.hops == 1 else f"{found.hops} times"
    drawn = found.by(units="whole", hops=0).shares_elsewhere[0, -1]
    return f"What it drew from them ({drawn:.0%}) is traced back {times}; the rest is shown as {THOUGHTS}."
