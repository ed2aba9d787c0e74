"""Several methods side by side as coloured tables, and how far their rankings agree."""

from __future__ import annotations

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from contextmix.results.comparison import Comparison
from contextmix.tokens.pieces import printable
from contextmix.views.drawing.picture import picture
from contextmix.views.terminal.maps import LIST_LIMIT, show_on
from contextmix.views.terminal.parts import Folded, Key


def render(found: Comparison) -> RenderableType:
    """Draw a comparison for `rich`: a table of tokens and methods, what each method says, and rank correlations.

    Args:
        found: At least one method.

    Example:
        >>> import contextmix as cm
        >>> found = cm.load("demo").compare("a good film", ["globenc", "attention"])
        >>> Console(width=60, color_system=None).print(render(found))  # doctest: +ELLIPSIS
              globenc attention
        [CLS]   0.158     0.393
        ...
    """
    names = [printable(name) for name in found.rows]
    drawn = [picture(row) for row in found.rows.values()]
    scores = np.stack([row.values / (np.abs(row.values).max() or 1.0) for row in found.rows.values()], axis=1)
    signed = [one.signed for one in drawn]
    tokens = drawn[0].columns
    strength = np.abs(scores).max(1)
    shown = sorted(np.argsort(-strength, kind="stable")[:LIST_LIMIT].tolist())
    labels = [tokens[position] for position in shown]
    texts = [[f"{score:.3f}" for score in scores[position]] for position in shown]
    parts: list[RenderableType] = [Folded(labels, names, texts, scores[shown], signed, names=True)]
    if len(shown) < len(tokens):
        parts += [Text(f"The {len(shown)} strongest of {len(tokens)} tokens, by the method that ranks them highest.")]
    sides = "; red adds, blue removes" if any(signed) else ""
    said = [*_said(found, names), f"Each method is divided by its largest{sides}."]
    parts += [Text("\n".join(said), "dim"), Key(any(signed)), Text()]
    return Group(*parts, *_agreement(found, names))


def show(found: Comparison, console: Console | None = None) -> None:
    """Print a comparison.

    Args:
        found: At least one method.
        console: Where to; left out, the standard output.
    """
    show_on(console, render(found))


def _said(found: Comparison, names: list[str]) -> list[str]:
    """What the numbers are, once for all methods of which the same is true."""
    groups: dict[str, list[str]] = {}
    for name, row in zip(names, found.rows.values(), strict=True):
        groups.setdefault(picture(row).caption[1], []).append(f"{name} ({row.quantity})")
    return [f"{', '.join(each)}: {sentence[:1].lower()}{sentence[1:]}" for sentence, each in groups.items()]


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
        Text("Red: the same order (+1). Blue: the opposite one (−1).", "dim"),
    ]
