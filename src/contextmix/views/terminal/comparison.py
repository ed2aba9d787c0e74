"""Several methods side by side as coloured tables, and how far their rankings agree."""

from __future__ import annotations

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from contextmix.results.comparison import Comparison
from contextmix.views.drawing.beside import beside
from contextmix.views.terminal.maps import LIST_LIMIT, show_on
from contextmix.views.terminal.parts import Folded, Key


def render(found: Comparison) -> RenderableType:
    """Draw a comparison for `rich`: a table of tokens and methods, what each method says, and rank correlations.

    Args:
        found: At least one method.

    Example:
        >>> import contextmix as cm
        >>> result = cm.load("demo").compare("a good film", ["globenc", "attention"])
        >>> Console(width=60, color_system=None).print(render(result))  # doctest: +ELLIPSIS
              globenc attention
        [CLS]   0.158     0.393
        ...
    """
    drawn = beside(found, LIST_LIMIT)
    texts = [[f"{score:.3f}" for score in scores] for scores in drawn.scores]
    table = Folded(drawn.labels, drawn.names, texts, drawn.scores, drawn.signed, names=True)
    parts: list[RenderableType] = [table, Text("\n".join(drawn.said), "dim"), Key(any(drawn.signed)), Text()]
    return Group(*parts, *_agreement(found, drawn.names))


def show(found: Comparison, console: Console | None = None) -> None:
    """Print a comparison.

    Args:
        found: At least one method.
        console: Where to; left out, the standard output.
    """
    show_on(console, render(found))


def _agreement(found: Comparison, names: list[str]) -> list[RenderableType]:
    if len(names) < 2:
        return []
    table = found.spearman.to_numpy(float)
    texts = [[f"{value:+.2f}" for value in row] for row in table]
    numbered = list(enumerate(names, 1))
    undefined = " (nan: a method ranks nothing)" if np.isnan(table).any() else ""
    return [
        Text(f"Spearman's rank correlation over all tokens{undefined}"),
        Folded(
            [f"{number} {name}" for number, name in numbered],
            [str(number) for number, _ in numbered],
            texts,
            np.nan_to_num(table),
            [True] * len(names),
            names=True,
        ),
        Text("+1: the same order. −1: the opposite one.", "dim"),
    ]
