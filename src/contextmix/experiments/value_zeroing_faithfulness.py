"""Do rolled-out maps rank tokens as the model does when each is blanked out?"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from contextmix.datasets.reading.source import open_source
from contextmix.errors import BadInput
from contextmix.evidence.blimp import is_blimp
from contextmix.evidence.cues import ROLLED
from contextmix.evidence.estimates import against, estimated, short, tested, verdict
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.report import Figure, Report, Table
from contextmix.models.predictor import predictor, removable
from contextmix.models.traced_model import TracedModel
from contextmix.options.values import Removal
from contextmix.plugins.contracts import Scored
from contextmix.plugins.papers import MOHEBBI_2023
from contextmix.plugins.scoring import METRICS
from contextmix.views.figures.marks import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Outcomes = dict[str, list[Scored]]
"""Method → one entry per text."""
FIELDS = ("text_field", "pair_field", "label_field", "id_field", "split")


def run(setup: Setup) -> Report:
    """Spearman's correlation of each map's row with the drops of p(ŷ)."""
    if setup.data is None or is_blimp(setup.data):
        raise BadInput(
            f"Blanking out asks what a classifier makes of texts, and the data is {setup.data!r}. Name texts that the "
            "model was made for, and only this experiment (--only faithfulness)."
        )
    removal = replacement(setup.traced)
    outcomes, failed = _outcomes(setup, removal)
    numbers = pd.DataFrame({method: estimated(found, seed=setup.seed) for method, found in outcomes.items()}).T
    numbers.index.name = "method"
    tests = against(ROLLED[0], dict(outcomes), seed=setup.seed)
    reasons = Counter(one.reason for found in outcomes.values() for one in found if one.value is None)
    count = len(outcomes[ROLLED[0]])
    what = f"{count:,} texts, each token {_WORDS[removal]}"
    shown = pd.DataFrame(
        {"ρ, 95 %": numbers.apply(short, axis="columns"), "sd": numbers["sd"], "texts": numbers["count"]}
    )
    shown[f"{ROLLED[0]} less it"] = tests.apply(tested, axis="columns").reindex(shown.index).fillna("")
    caption = f"Spearman's ρ between the row of the token that the head reads and the drop of p(ŷ), {what}"
    summary = [verdict(ROLLED[0], tests, "faithfulness"), _DECISION.format(what=_WORDS[removal])]
    summary += [
        f"{times} correlations are not defined and were left out: {reason}." for reason, times in reasons.items()
    ]
    summary += [f"{times} texts could not be read: {problem}." for problem, times in failed.items()]
    tables = [
        Table("value_zeroing_faithfulness", caption, numbers, shown),
        Table("value_zeroing_faithfulness_tests", "Paired permutation tests, corrected by Holm", tests),
    ]
    picture = partial(_draw, numbers=numbers)
    figure = Figure("value_zeroing_faithfulness", f"{caption}; 95 % of a bootstrap.", picture, (6.0, 2.6))
    record: dict[str, Any] = {"removal": removal, "texts": count, "failed": dict(failed), "undefined": dict(reasons)}
    return Report("value_zeroing_faithfulness", EXPERIMENT.title, summary, tables, [figure], record)


def replacement(model: TracedModel) -> Removal:
    """What stands in a token's place: a mask if the tokenizer has one, else the unknown token, else nothing."""
    for removal, mark in (("mask", "mask_token_id"), ("unknown", "unk_token_id")):
        if getattr(model.tokenizer, mark, None) is not None:
            return removal  # type: ignore[return-value]
    return "delete"


def _outcomes(setup: Setup, removal: Removal) -> tuple[Outcomes, Counter[str]]:
    """The metric of every text and method; the drops of one text are asked for once."""
    measured = setup.measured("faithfulness", methods=ROLLED)
    rows = measured.to_pandas([*ROLLED])
    fields = {name: setup.reading[name] for name in FIELDS if name in setup.reading}
    source = open_source(setup.data, **fields, limit=setup.limit)
    score = METRICS["blank_out"].score
    found: Outcomes = {method: [] for method in ROLLED}
    for row in source.rows():
        if row.number not in rows.index:
            continue
        (inputs,) = setup.traced.encode(row.text, truncate=True)
        predict = predictor(setup.traced, inputs, removal=removal)
        may_go = removable(inputs.tokens)  # type: ignore[arg-type]
        for method in ROLLED:
            own = np.asarray(rows.at[row.number, method], dtype=np.float64)
            found[method].append(score(own, predict, may_go))
    return found, Counter(measured.failures()["problem"])


def _draw(canvas: Canvas, numbers: pd.DataFrame) -> None:
    axes = canvas.add_subplot()
    known = numbers[numbers["mean"].notna()].iloc[::-1]
    mean, low, high = (known[column].to_numpy(float) for column in ("mean", "low", "high"))
    axes.errorbar(mean, range(len(known)), xerr=np.abs([mean - low, high - mean]), fmt="o", color=COLOURS[0], capsize=3)
    axes.set_yticks(range(len(known)), known.index)
    axes.axvline(0, color="#7F7F7F", linestyle="--", linewidth=1)
    axes.set_xlabel("Spearman's ρ with the drops of p(ŷ)")
    axes.spines[["top", "right"]].set_visible(False)


_WORDS = {"mask": "replaced by a mask", "unknown": "replaced by the unknown token", "delete": "deleted"}
_DECISION = (
    "Each token is {what} alone; special tokens stay and are not ranked; ŷ is the model's own prediction. What the "
    "paper put in a token's place is not established."
)

EXPERIMENT = Experiment(
    study="value_zeroing",
    name="faithfulness",
    title="Value Zeroing, faithfulness: do rolled-out maps rank tokens as blanking them out does?",
    paper=MOHEBBI_2023,
    run=run,
    needs="Texts for a classifier, or for a causal language model.",
)
