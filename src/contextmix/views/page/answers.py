"""Answers as pages and notebook cells: the answer on one side, its sources on the other, and what joins them.

A page needs no network. Its content security policy lets one script run, by its hash, and one style sheet; colours are
classes of that sheet, so that no style stands in the data.
"""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from contextmix.results.answer import Answer
from contextmix.results.files import refuse_place, write_atomically
from contextmix.tokens.pieces import printable
from contextmix.views.drawing.answer import NAMES, Piece, Report, parts_of, reported
from contextmix.views.drawing.colours import Array
from contextmix.views.drawing.facts import facts
from contextmix.views.drawing.picture import number_texts
from contextmix.views.page.fragment import painted, templates
from contextmix.views.page.report import TITLE, embedded, policy

STEPS = 10
"""Colours of each sign."""
LABEL = 200
"""Most characters of a source in a footnote."""
UNITS = 20
"""Most parts of an answer in a table of a notebook."""


def save(found: Answer, path: str | Path, overwrite: bool = False) -> None:
    """Write a page; see `Answer.save`."""
    refuse_place(path, overwrite)  # before the work, not after it
    write_atomically(path, page(found).encode("utf-8", "backslashreplace"), overwrite)


def page(found: Answer) -> str:
    """A page that stands alone.

    Args:
        found: Any answer.

    Example:
        >>> import contextmix as cm
        >>> result = cm.load("demo-decoder").explain_answer("<b>Lily", ["Lily had a ball."], max_new_tokens=2)
        >>> "<b>" in page(result), "&lt;b&gt;Lily" in page(result)
        (False, True)
    """
    drawn = reported(found)
    script, sheet = read("answer.js"), read("answer.css") + _colours(drawn.signed)
    return (
        templates()
        .get_template("answer.html.j2")
        .render(
            title=f"{printable(' '.join(found.text.split()))[:TITLE]} · contextmix",
            policy=policy(script, sheet),
            style=Markup(sheet),
            script=Markup(script),
            numbers=embedded(_numbers(drawn)),
            **_parts_of_page(found, drawn),
        )
    )


def fragment(found: Answer) -> dict[str, Any]:
    """The inside of a page, for one that is there already: markup without script and style, and the numbers.

    ``answer.js`` brings it to life; `sheet` has its looks.
    """
    drawn = reported(found)
    html = templates().get_template("answer_parts.html.j2").render(_parts_of_page(found, drawn))
    return {"html": html, "signed": drawn.signed, "numbers": _numbers(drawn)}


def sheet() -> str:
    """The style sheet of fragments: those of signed answers stand in an element of the class ``signed``."""
    return read("answer.css") + _colours(False) + _colours(True, ".signed ")


def _numbers(drawn: Report) -> dict[str, Any]:
    """What the script of a page needs."""
    taken, rows, columns = drawn.without, range(len(drawn.scores)), range(drawn.scores.shape[1])
    return {
        "names": NAMES,
        "chances": drawn.chances,
        "scores": drawn.scores.round(4).tolist(),
        "shares": drawn.shares.round(5).tolist(),
        "elsewhere": drawn.elsewhere.round(5).tolist(),
        "sums": None if drawn.sums is None else list(map(_with_sign, drawn.sums)),
        "changes": None if taken is None else [[taken.change(row, column) for column in columns] for row in rows],
        "without": [drawn.without_it(column) for column in columns],
    }


def _parts_of_page(found: Answer, drawn: Report) -> dict[str, Any]:
    """What the template of the two sides needs."""
    return {
        "drawn": drawn,
        "has_sums": drawn.sums is not None and not drawn.signed,
        "steps": [_step(score) for score in drawn.scores[-1].tolist()],
        "labels": _labels(drawn),
        "whole": list(parts_of(drawn.shares[-1], drawn.elsewhere[-1])),
        "facts": facts(found.provenance),
    }


def still(found: Answer) -> str:
    """An answer for the last line of a notebook cell: no script, every text escaped."""
    drawn = reported(found)
    rows = [*range(len(drawn.units))][: UNITS + 1]
    shown = [(drawn.units[row], [f"{share:.0%}" for _, share in _parts(drawn, row)]) for row in rows]
    paints = [painted(score, drawn.signed) for score in drawn.scores[-1].round(3).tolist()]
    names = [name for name, _ in _parts(drawn, 0)]
    template = templates().get_template("answer_still.html.j2")
    more = [] if drawn.without is None else [place for place in drawn.without.shown if place not in drawn.notes]
    return template.render(drawn=drawn, more=more, labels=_labels(drawn), paints=paints, names=names, rows=shown)


def show(found: Answer) -> None:
    """Display an answer in the running notebook."""
    display = importlib.import_module("IPython.display")
    display.display(display.HTML(still(found)))


def _parts(drawn: Report, row: int) -> list[tuple[str, float]]:
    return list(parts_of(drawn.shares[row], drawn.elsewhere[row]))


def _labels(drawn: Report) -> list[str]:
    """Each source in one line."""
    pieces: list[Piece] = [piece for _, list_ in drawn.documents for piece in list_ if piece.number is not None]
    lines = (" ".join(piece.text.split()) for piece in pieces)
    return [line if len(line) <= LABEL else f"{line[: LABEL - 1]}…" for line in lines]


def _with_sign(sums: Array) -> list[str]:
    """The sums of a unit, those that speak for it with a plus."""
    return [text if text.startswith("-") else f"+{text}" for text in number_texts(sums)]


def _step(score: float) -> str:
    """The class that paints a score; none for nothing."""
    step = round(abs(score) * STEPS)
    return f"{'n' if score < 0 else 'p'}{step}" if step else ""


def _colours(signed: bool, within: str = "") -> str:
    """A rule for each step of the scale."""
    steps = [(sign, step) for sign in ("pn" if signed else "p") for step in range(1, STEPS + 1)]
    paints = (painted(step / STEPS * (-1 if sign == "n" else 1), signed) for sign, step in steps)
    return "".join(f"{within}.{sign}{step}{{{paint}}}" for (sign, step), paint in zip(steps, paints, strict=True))


@lru_cache(maxsize=2)
def read(name: str) -> str:
    """A file of the page."""
    text = resources.files("contextmix.views.page").joinpath(f"answer/{name}").read_text(encoding="utf-8")
    # A parser would end the element there, or turn the line ends and so change the hash.
    assert not re.search(r"</(script|style)|<!--|\r", text, re.IGNORECASE)
    return text
