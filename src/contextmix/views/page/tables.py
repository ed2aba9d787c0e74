"""Comparisons and proofs as tables of HTML for notebooks: no script, no network, every name and token escaped."""

from __future__ import annotations

from typing import Any

from contextmix.results.comparison import Comparison
from contextmix.tokens.pieces import printable
from contextmix.views.drawing.beside import beside
from contextmix.views.page.fragment import painted, templates

TOKENS = 20
"""Most tokens of a comparison in a notebook; `Comparison.show` lists more."""


def comparison(found: Comparison) -> str:
    """The methods of a comparison side by side in colour, for the last line of a notebook cell.

    Example:
        >>> import contextmix as cm
        >>> result = cm.load("demo").compare("a <b> film", ["globenc", "attention"])
        >>> "<b>" in comparison(result), "&lt;" in comparison(result)
        (False, True)
    """
    if not found.rows:
        return "<p>No methods were compared.</p>"
    drawn = beside(found, TOKENS)
    lines = []
    for label, scores in zip(drawn.labels, drawn.scores.round(3).tolist(), strict=True):
        cells = [(painted(score, signed), f"{score:.3f}") for score, signed in zip(scores, drawn.signed, strict=True)]
        lines.append((label, cells))
    model = next(iter(found.rows.values())).provenance.model
    return _table(printable(model) if model else "", ["token", *drawn.names], lines, drawn.said)


def proof(report: Any) -> str:
    """What `TracedModel.check` found, for the last line of a notebook cell.

    Args:
        report: A `CheckReport`.
    """
    layouts = ", ".join(report.anatomy.layouts)
    title = f"{printable(report.model)}: {len(report.anatomy)} blocks ({layouts}), {report.n_heads} heads"
    lines = [(name, [("", error), ("text-align:left", meaning)]) for name, error, meaning in report.lines]
    return _table(title, ["check", "relative error", "what it shows"], lines, [])


def _table(title: str, heads: list[str], lines: list[Any], said: list[str]) -> str:
    """A table: its heads, and lines of a label and cells, each with its style and text."""
    return templates().get_template("table.html.j2").render(title=title, heads=heads, lines=lines, said=said)
