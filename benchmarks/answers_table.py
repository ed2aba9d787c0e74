"""The tables of `answers.py`, of what its files hold: means with standard errors, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contextmix.plugins.contracts import Scored
from contextmix.plugins.sources import baselines, lds, needle_recall, top_k_drop

COLUMNS = {
    "facts": ["hit@1 sentence", "hit@1 token"],
    "wiki": [],
    "stories": [],
}
LDS = [
    "LDS masked",
    "LDS masked, count removed",
    "LDS deleted",
    "LDS deleted, count removed",
    "drop1 masked",
    "drop1 deleted",
]
Values = dict[str, list[float | None]]
"""Column → one value per case; None where it is not defined."""


def table(kind: str, found: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """As Markdown, and as numbers.

    Args:
        kind: Of the cases.
        found: What was measured of each.
        methods: In the order of the rows; the first one is compared with all others.
    """
    columns = COLUMNS[kind] + LDS
    rows: dict[str, Values] = {}
    for number, one in enumerate(found):
        known = baselines(one["lengths"], seed=number)
        given = {name: {"sources": list(scores), "token": None} for name, scores in known.items()}
        for name, scores in {**given, **{method: one["scores"][method] for method in methods}}.items():
            for column, value in judged(one, scores).items():
                rows.setdefault(name, {}).setdefault(column, []).append(value)
    sizes = [len(one["lengths"]) for one in found]
    masks = len(next(iter(found[0]["truth"].values()))) - 1 - sizes[0]
    head = f"{kind}: {len(found)} cases, {min(sizes)} to {max(sizes)} sources, {masks} masks\n"
    lines = [head, "| method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cell(rows[name][one]) for one in columns) + " |" for name in rows]
    lines += ["", f"{methods[0]} minus each, paired:", "", *lines[1:3]]
    pairs = {name: {one: paired(rows[methods[0]][one], rows[name][one]) for one in columns} for name in rows}
    others = [name for name in rows if name != methods[0]]
    lines += [f"| {name} | " + " | ".join(cell(pairs[name][one], "+") for one in columns) + " |" for name in others]
    return "\n".join(lines) + "\n", {"cases": len(found), "values": rows}


def judged(one: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, float | None]:
    """All columns of one case and method."""
    own, count = np.array(scores["sources"]), len(scores["sources"])
    found: dict[str, float | None] = {"hit@1 token": scores["token"]}
    needle = one["case"]["needle"]
    if needle is not None:
        found["hit@1 sentence"] = needle_recall(own, np.arange(count) == needle[0], k=1).value
    for away in ("masked", "deleted"):
        if away not in one["truth"]:
            found |= dict.fromkeys([column for column in LDS if f" {away}" in column])
            continue
        said = [(np.array(mask, bool), sum(tokens)) for mask, tokens in one["truth"][away]]
        masks, log_probs = np.stack([mask for mask, _ in said]), np.array([number for _, number in said])
        halves = masks[1 + count :], log_probs[1 + count :]
        found[f"LDS {away}"] = zero(lds(own, *halves))
        found[f"LDS {away}, count removed"] = zero(lds(own, *halves, count_removed=True))
        known = {mask.tobytes(): number for mask, number in said}
        drop = top_k_drop(own, lambda asked, known=known: np.array([known[row.tobytes()] for row in asked]))
        found[f"drop1 {away}"] = drop.value
    return found


def zero(found: Scored) -> float:
    """Scores that say nothing (all the same) order nothing: a correlation of zero, so that no case is left out."""
    return 0.0 if found.value is None else found.value


def paired(first: Sequence[float | None], other: Sequence[float | None]) -> list[float | None]:
    """Differences, case by case."""
    return [None if None in (a, b) else a - b for a, b in zip(first, other, strict=True)]  # type: ignore[operator]


def cell(values: Sequence[float | None], sign: str = "") -> str:
    """Mean ± standard error, with the number of cases where it is not all."""
    known = np.array([one for one in values if one is not None], float)
    if len(known) < 2:
        return "–"
    error = known.std(ddof=1) / np.sqrt(len(known))
    return f"{known.mean():{sign}.2f} ± {error:.2f}" + ("" if len(known) == len(values) else f" ({len(known)})")
