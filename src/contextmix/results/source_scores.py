"""SourceScores: what each source is worth to each unit of an answer, by ablation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contextmix.results.grouping import Numbers


@dataclass(frozen=True, eq=False)
class SourceScores:
    """What each source is worth to each unit of an answer.

    Attributes:
        values: (unit, source): nats of the unit's log-probability that are lost without the source; of
            ``"context_cite"`` in its log-odds.
        method: Its name.
        passes: Runs of the model that it took.
        held_out_lds: Of surrogates, for each unit: Spearman's ρ of what a surrogate of the other masks predicts with
            what the model said. None where it is not defined. Where it is low, do not quote the scores.
        penalties: Of surrogates, for each unit: the λ.
        away: How sources were taken away, where it is known.
        answer: The same `Answer` with these scores, which its views show and its files keep; None for scores of none.
    """

    values: Numbers
    method: str
    passes: int
    held_out_lds: tuple[float | None, ...] = ()
    penalties: tuple[float, ...] = ()
    away: str = ""
    answer: Any = None
