"""Perturbation: what a model says of an example when tokens are taken away, for the metrics that ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contextmix.errors import BadOption, NotFinite, WrongShape
from contextmix.maths.bounds import number_within
from contextmix.maths.removal import By, Ranking, area, counts, evenly, ranking
from contextmix.maths.soft import drawn, kept_with, unit_scores
from contextmix.plugins.contracts import Predict, Scored

PERCENT = (10, 20, 30, 40, 50, 60, 70, 80, 90)
"""How many tokens are taken away, step by step, in the evaluation of DecompX."""

SOFT_PERCENT = (10, 30, 50, 70, 90)
"""How many tokens are expected to stay where each of them stays by chance."""


@dataclass(frozen=True)
class Answers:
    """What a model said of one example.

    Attributes:
        intact: (class,): probabilities with every token.
        changed: (variant, class): probabilities of each variant.
    """

    intact: NDArray[np.float64]
    changed: NDArray[np.float64]

    @property
    def predicted(self) -> int:
        """ŷ: the class with the highest probability for the intact example; of equal ones the first."""
        return int(self.intact.argmax())

    @property
    def whole(self) -> float:
        """p(ŷ | x)."""
        return float(self.intact[self.predicted])

    @property
    def parts(self) -> NDArray[np.float64]:
        """p(ŷ | variant), (variant,)."""
        return self.changed[:, self.predicted]

    @property
    def drops(self) -> NDArray[np.float64]:
        """p(ŷ | x) − p(ŷ | variant), (variant,)."""
        return self.whole - self.parts


def ask(predict: Callable[[NDArray[np.bool_]], NDArray[np.float64]], kept: NDArray[np.bool_]) -> Answers:
    """Ask once for the intact example and all variants.

    Args:
        predict: See `contextmix.plugins.contracts.Predict`.
        kept: (variant, token): which tokens are left.

    Raises:
        WrongShape: If it does not answer with one row per variant.
        NotFinite: If a probability is NaN or infinite.

    Example:
        >>> said = ask(lambda kept: np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([[True, False]]))
        >>> said.predicted, said.drops.round(3)
        (1, array([0.3]))
    """
    intact = np.ones((1, kept.shape[1]), dtype=np.bool_)
    found = np.asarray(predict(np.concatenate([intact, kept])), dtype=np.float64)
    if found.ndim != 2 or len(found) != 1 + len(kept):
        raise WrongShape(
            f"predict was asked for {1 + len(kept)} variants and answered with shape {found.shape}; it must give "
            "probabilities (variant, class), or numbers would be taken for those of another variant."
        )
    if not np.isfinite(found).all():
        raise NotFinite(
            "predict answered with NaN or infinite probabilities, so every number made of them would be wrong. Half "
            "precision overflows easily: load the model in float32."
        )
    return Answers(found[0], found[1:])


def portions(percent: Sequence[float], n: int) -> list[int]:
    """⌊K·n⌋ for each percentage K; 0 for short texts, where the step still counts.

    Raises:
        BadOption: If there is no percentage, or one that is not above 0 and at most 100.
    """
    if len(percent) == 0 or not all(0 < one <= 100 for one in percent):
        raise BadOption(
            f"Got the percentages {tuple(percent)!r}. Give one or more, each above 0 and at most 100: 20 means a fifth "
            "of the tokens, 0.2 a five-hundredth."
        )
    return counts(percent, n)


def named(percent: Sequence[float], values: NDArray[np.float64]) -> dict[str, float]:
    """A curve with its steps as people write them, ``"20%"``."""
    return {f"{one:g}%": float(value) for one, value in zip(percent, values, strict=True)}


def spread(n: int, steps: int | None) -> tuple[list[int], list[str]]:
    """How many of n tokens are moved up to each step of a curve, and the names of the steps.

    With a number of steps they are shares, so that curves of texts of different length can be averaged.

    Raises:
        BadOption: If there is less than one step.

    Example:
        >>> spread(2, None), spread(5, 2)
        (([0, 1, 2], ['0', '1', '2']), ([0, 2, 5], ['0%', '50%', '100%']))
    """
    if steps is not None and steps < 1:
        raise BadOption(f"steps={steps} would move no token. Give at least 1, or None for one token at a time.")
    numbers = evenly(n, steps)
    if steps is None:
        return numbers, list(map(str, numbers))
    return numbers, [f"{100 * step / steps:.4g}%" for step in range(steps + 1)]


def area_under(
    predict: Predict,
    variants: Callable[[NDArray[np.intp], Sequence[int], int], NDArray[np.bool_]],
    ranked: Ranking,
    count: int,
    steps: int | None,
) -> Scored:
    """The area under p(ŷ) while more and more tokens are moved, the top one first; the curve has p(ŷ) at each step.

    Args:
        predict: Asked once, for the intact example and one variant per step.
        variants: What is left of the example at each step: `without` or `only` so many of the first tokens.
        ranked: The tokens that may be moved.
        count: How many tokens there are.
        steps: See `spread`.

    Raises:
        BadOption: If there is less than one step.
    """
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    numbers, names = spread(len(ranked.places), steps)
    curve = ask(predict, variants(ranked.places, numbers, count)).parts
    found = number_within(area(numbers, curve), 0, 1, added=len(curve))
    return Scored(found, curve=dict(zip(names, curve.tolist(), strict=True)))


def softly(
    scores: NDArray[np.float64],
    predict: Predict,
    removable: NDArray[np.bool_],
    *,
    percent: Sequence[float],
    draws: int,
    seed: int,
    by: By,
    best_stay: bool,
) -> Scored:
    """The mean drop of p(ŷ) where each token stays by chance and the expected share of those that stay is given.

    Args:
        scores: (token,).
        predict: Asked once, for the intact example and ``draws`` variants per percentage.
        removable: (token,), True for tokens that may be taken away.
        percent: How many of them are expected to stay, in per cent.
        draws: Variants for each.
        seed: Of the draws.
        by: Take the number itself, or its size without the sign.
        best_stay: Whether the tokens with high scores stay more often, or those with low ones.

    Raises:
        BadOption: If a percentage is not above 0 and at most 100, or there is less than one draw.
    """
    if draws < 1:
        raise BadOption(f"draws={draws!r} would ask for no variant. Give at least 1.")
    ranked = ranking(scores, removable, by=by)
    portions(percent, 1)  # refuses what is no percentage
    if ranked.undefined:
        return Scored(None, ranked.undefined)
    ordered = np.asarray(scores, dtype=np.float64)[ranked.places]
    unit = unit_scores(np.abs(ordered) if by == "magnitude" else ordered)
    if unit is None:  # one token has no other to be more important than
        return Scored(None, "constant scores")
    unit = unit if best_stay else 1 - unit
    kept = np.ones((len(percent) * draws, len(scores)), dtype=np.bool_)
    kept[:, ranked.places] = np.concatenate([drawn(kept_with(unit, one / 100), draws, seed) for one in percent])
    drops = ask(predict, kept).drops.reshape(len(percent), draws).mean(1)
    return Scored(float(drops.mean()), curve=named(percent, drops))
