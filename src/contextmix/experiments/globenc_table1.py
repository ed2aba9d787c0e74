"""Tables 1, A.1 and A.2 of GlobEnc: does the [CLS] row of eight rollouts order the tokens as saliency does?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pandas as pd

from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.globenc import agreement, p_words, record_of, saliency_run, short, spread, undefined
from contextmix.evidence.labelled import sentences_on
from contextmix.evidence.order import Order, Pair, order, pairs
from contextmix.evidence.published import GLOBENC_ROLLOUT, Column
from contextmix.evidence.report import Report, Table
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.statistics.summaries import Interval, Summary, interval, summarise

TITLE = "Spearman's ρ of rolled-out maps with saliency (GlobEnc, tables 1, A.1, A.2)"


def run(setup: Setup) -> Report:
    """Measure, test, and set what was published beside it."""
    found, labels = saliency_run(setup)
    said = sentences_on(found, labels)
    outcomes = agreement(found, ["rollout"], last=True).last()
    summaries = {name: summarise(one) for name, one in outcomes.items()}
    intervals = {name: interval(one, seed=setup.seed) for name, one in outcomes.items()}
    tests = pairs(outcomes, seed=setup.seed)
    orders = [(column, order(column.means, outcomes, tests)) for column in GLOBENC_ROLLOUT]
    caption = f"of the [CLS] row of the rollout with the saliency of the true class, {len(outcomes['W']):,} texts"
    tables = [
        _measured(summaries, intervals, caption),
        _published("globenc_table1_other_models", summaries, GLOBENC_ROLLOUT[3:], caption),
        _orders({column.name: one for column, one in orders}),
        _pairs(summaries, tests),
    ]
    summary = [
        *said,
        *undefined(summaries),
        *_few(intervals),
        *_best(summaries, tests),
        *(_sentence(column, one) for column, one in orders if column.model == "BERT-base"),
        "Published numbers are of other models and data; only orders can be compared with them.",
    ]
    return Report("globenc_table1", TITLE, summary, tables, record=record_of(found, labels))


def _measured(summaries: Mapping[str, Summary], intervals: Mapping[str, Interval], caption: str) -> Table:
    numbers = pd.DataFrame(
        {
            name: {
                "mean": one.mean,
                "sd": one.sd,
                "low": intervals[name].low,
                "high": intervals[name].high,
                "texts": one.count,
                "undefined": sum(one.undefined.values()),
                **{f"{c.name} {what}": c.values[name][k] for c in GLOBENC_ROLLOUT for k, what in enumerate(_WHAT)},
            }
            for name, one in summaries.items()
        }
    ).T.rename_axis("method")
    shown = _beside(summaries, GLOBENC_ROLLOUT[:3])
    shown.insert(1, "95 % interval", [_bounds(one) for one in intervals.values()])
    return Table("globenc_table1", f"Spearman's ρ {caption}: mean ± sd; beside it what was published.", numbers, shown)


_WHAT = ("mean", "sd")


def _published(name: str, summaries: Mapping[str, Summary], columns: tuple[Column, ...], caption: str) -> Table:
    shown = _beside(summaries, columns)
    return Table(name, f"The same beside tables A.1 and A.2: Spearman's ρ {caption}, mean ± sd.", shown)


def _beside(summaries: Mapping[str, Summary], columns: tuple[Column, ...]) -> pd.DataFrame:
    shown = {"this model": {name: spread(one.mean, one.sd) for name, one in summaries.items()}}
    shown |= {column.name: {name: spread(*column.values[name]) for name in summaries} for column in columns}
    return pd.DataFrame(shown).rename_axis("method")


def _orders(orders: Mapping[str, Order]) -> Table:
    shown = pd.DataFrame(
        {
            name: {
                "neighbours": one.count,
                "hold here": len(one.holds),
                "undecided": len(one.undecided),
                "reversed": len(one.reversed),
                "Kendall's τ": one.tau,
            }
            for name, one in orders.items()
        }
    ).T.rename_axis("published order")
    counts = {name: "Int64" for name in ("neighbours", "hold here", "undecided", "reversed")}
    caption = "Methods that are neighbours in a published order, by what a paired test says here (5 %, Holm)."
    return Table("globenc_table1_orders", caption, shown.astype(counts))


def _pairs(summaries: Mapping[str, Summary], tests: Mapping[tuple[str, str], Pair]) -> Table:
    ranked = _ranked(summaries)
    every = [tests[a, b] for place, a in enumerate(ranked) for b in ranked[place + 1 :] if (a, b) in tests]
    columns = ["first", "second", "difference", "p_value", "p_holm", "texts", "reason"]
    lines = [
        (one.first, one.second, one.test.difference, one.test.p_value, one.p_value, one.test.count, one.test.reason)
        for one in every
    ]
    numbers = pd.DataFrame(lines, columns=columns).set_index(["first", "second"])
    near = [one for one in every if (one.first, one.second) in set(pairwise(ranked))]
    shown = pd.DataFrame(
        [(one.first, one.second, f"{one.test.difference or 0:.3f}", p_words(one.p_value)) for one in near],
        columns=["method", "above", "by", "by a test (Holm)"],
    ).set_index("method")
    return Table("globenc_table1_pairs", "Neighbours in the order measured here, with paired tests.", numbers, shown)


def _ranked(summaries: Mapping[str, Summary]) -> list[str]:
    means = {name: one.mean for name, one in summaries.items() if one.mean is not None}
    return sorted(means, key=lambda name: -means[name])


def _best(summaries: Mapping[str, Summary], tests: Mapping[tuple[str, str], Pair]) -> list[str]:
    ranked = _ranked(summaries)
    if len(ranked) < 2:
        return ["Fewer than two methods are defined here, so there is no order."]
    best, second = ranked[:2]
    certain = (best, second) in tests and tests[best, second].significant
    found = [f"In order here: {', '.join(f'{name} {short(summaries[name].mean)}' for name in ranked)}."]
    if best == "N_Enc":
        lead = tests[best, second].test.difference or 0 if (best, second) in tests else 0
        sure = f"by {lead:.3f} over {second}, which is {'' if certain else 'not '}significant"
        return [*found, f"GlobEnc (the rollout of N_Enc) agrees best with saliency, as published, {sure}."]
    return [
        *found,
        f"GlobEnc (the rollout of N_Enc) is not the best here, unlike in the paper: {best} agrees better with saliency"
        + _difference(tests.get((best, "N_Enc"))),
    ]


def _difference(pair: Pair | None) -> str:
    if pair is None:
        return "."
    sure = "significant" if pair.significant else "not significant"
    return f", by {pair.test.difference or 0:.3f} ({p_words(pair.p_value)}: {sure})."


def _sentence(column: Column, found: Order) -> str:
    held = f"{len(found.holds)} of {found.count} neighbouring pairs hold here"
    listed = {"the other way round": found.reversed, "undecided": found.undecided}
    parts = [f"{what}: {', '.join(f'{a} over {b}' for a, b in these)}" for what, these in listed.items() if these]
    tau = "not defined" if found.tau is None else f"{found.tau:.2f}"
    return f"Order of {column.name} ({column.table}): {'; '.join([held, *parts])}. Kendall's τ of all means is {tau}."


def _few(intervals: Mapping[str, Interval]) -> list[str]:
    reasons = {one.reason for one in intervals.values() if one.reason}
    return [f"No interval: {reason}." for reason in sorted(reasons)]


def _bounds(found: Interval) -> str:
    return "–" if found.low is None else f"{short(found.low)} to {short(found.high)}"


EXPERIMENT = Experiment(
    study="globenc",
    name="table1",
    title=TITLE,
    paper=MODARRESSI_2022,
    run=run,
    needs="a classifier, and labelled texts for it",
)
