"""Several methods side by side: which tokens and numbers stand in the table, and what is said below it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contextmix.results.comparison import Comparison
from contextmix.tokens.pieces import printable
from contextmix.views.drawing.picture import picture


@dataclass(frozen=True)
class Beside:
    """What is drawn of a comparison.

    Attributes:
        names: Of the methods.
        labels: Of the tokens that are shown, in order of the text.
        scores: (token, method): numbers, each divided by the largest of its method.
        signed: Whether each method has signs.
        said: Sentences below the table.
    """

    names: list[str]
    labels: list[str]
    scores: NDArray[np.float64]
    signed: list[bool]
    said: list[str]


def beside(found: Comparison, most: int) -> Beside:
    """What is drawn of a comparison.

    Args:
        found: At least one method.
        most: So many tokens at most: the strongest, by the method that ranks them highest.
    """
    names = [printable(name) for name in found.rows]
    drawn = [picture(row) for row in found.rows.values()]
    scores = np.stack([row.values / (np.abs(row.values).max() or 1.0) for row in found.rows.values()], axis=1)
    signed = [one.signed for one in drawn]
    tokens = drawn[0].columns
    shown = sorted(np.argsort(-np.abs(scores).max(1), kind="stable")[:most].tolist())
    fewer = f"The {len(shown)} strongest of {len(tokens)} tokens, by the method that ranks them highest."
    sides = "; + adds, − removes" if any(signed) else ""
    said = [*([fewer] if len(shown) < len(tokens) else []), *_meanings(found, names)]
    said += [f"Each method is divided by its largest{sides}."]
    return Beside(names, [tokens[position] for position in shown], scores[shown], signed, said)


def _meanings(found: Comparison, names: list[str]) -> list[str]:
    """What the numbers are, once for all methods of which the same is true."""
    groups: dict[str, list[str]] = {}
    for name, row in zip(names, found.rows.values(), strict=True):
        groups.setdefault(picture(row).about[1], []).append(f"{name} ({row.quantity})")
    return [f"{', '.join(each)}: {sentence[:1].lower()}{sentence[1:]}" for sentence, each in groups.items()]
