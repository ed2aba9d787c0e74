"""A comparison as a report: one table, one figure, the tests and costs behind them, and plain words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from contextmix.datasets.storage.results import Run
from contextmix.datasets.storage.settings import RANDOMISED
from contextmix.evidence import words
from contextmix.evidence.contest import ALPHA, BASELINES, Contest, Entry
from contextmix.evidence.experiment import Setup
from contextmix.evidence.planning import Plan
from contextmix.evidence.report import Figure, Report, Table
from contextmix.evidence.suites import DEAR
from contextmix.plugins.scoring import METRICS
from contextmix.views.figures.dots import Dot, Panel, Rank, dot_panels, size_for

ABOUT = {
    "model": "of faithfulness (they ask the model)",
    "reference": "of agreement with the reference",
    "rationale": "of plausibility (they ask people)",
}


@dataclass(frozen=True)
class Findings:
    """All that a report is made of.

    Attributes:
        setup: Model, data and folder.
        plan: Who took part.
        runs: Over all texts: one, or of a suite one for each removal.
        contests: One per metric.
        seconds: How long it all took.
    """

    setup: Setup
    plan: Plan
    runs: Sequence[Run]
    contests: Sequence[Contest]
    seconds: float


def report(found: Findings) -> Report:
    """Tables, figure, words and record."""
    panels = [_panel(one) for one in found.contests]
    lines = max(len(panel.dots) for panel in panels)
    caption = "Means with 95 % bootstrap intervals, one panel per metric, best on top."
    figure = Figure("evaluation", caption, partial(_draw, panels), size_for(len(panels), lines))
    return Report(
        name="evaluation",
        title=f"Which method for {found.setup.traced.origin.model}?",
        summary=summary(found),
        tables=[table(found), _tests(found), _costs(found)],
        figures=[figure],
        record=_record(found),
    )


def table(found: Findings) -> Table:
    """Methods against metrics."""
    lines = [_line(contest, one) for contest in found.contests for one in contest.entries]
    numbers = pd.DataFrame(lines).set_index(["metric", "method"])
    shown = {_heading(one): {entry.method: _cell(one, entry) for entry in one.entries} for one in found.contests}
    texts = max(one.texts for one in found.contests)
    caption = (
        f"Mean [95 % interval] over at most {texts} texts. ↑ more is better, ↓ less is better. ★ best mean, or not "
        f"significantly different from it (p ≥ {ALPHA} in a paired permutation test, Holm-corrected). † not compared: "
        "true by construction, or too few texts. ° a baseline, never called best. Signed scores rank by value, and by "
        "size against a reference without signs."
    )
    return Table("evaluation", caption, numbers, pd.DataFrame(shown).rename_axis("method"))


def summary(found: Findings) -> list[str]:
    """What is significant, in plain sentences."""
    said = [words.sentence(one) if one.metric != RANDOMISED else words.check_sentence(one) for one in found.contests]
    tops = [
        words.overall([one for one in found.contests if METRICS[one.metric].against == kind], about)
        for kind, about in ABOUT.items()
    ]
    failures = list(dict.fromkeys(said for run in found.runs for said in _failures(run)))
    frame = found.runs[0].to_pandas(["label", "prediction"])
    return [
        *filter(None, tops),
        *said,
        *words.undefined_said(found.contests),
        *failures,
        *words.labels_said(frame, found.plan.classes),
        *_about_target(found),
        *_about_suite(found.plan),
        *words.left_out("Methods", found.plan.methods.left_out),
        *words.left_out("Metrics", found.plan.metrics.left_out),
    ]


def _failures(run: Run) -> list[str]:
    told = run.summary()
    failed = ", ".join(f"{count} {problem}" for problem, count in told["problems"].items())
    return [f"{told['failed']} of {told['rows']} texts could not be measured ({failed})."] if failed else []


def _about_suite(plan: Plan) -> list[str]:
    """What was fixed, what a model cannot do, and what is dear."""
    if plan.suite is None:
        return []
    dear = [f"{name} ({cost:.0f})" for name, cost in plan.costs.passes.items() if cost > DEAR]
    said = f"More than {DEAR} plain runs of the model for one text: {', '.join(dear)}."
    return [
        f"The suite {plan.suite} fixes methods, metrics and removals ({', '.join(plan.removals)}); Holm's correction "
        "is for the tests of each metric under each removal, not for the whole table.",
        *([said] if dear else []),
        *words.left_out("Removals", plan.removals_left_out),
    ]


def _about_target(found: Findings) -> list[str]:
    target = found.plan.settings.target
    if target is None:
        return []
    return [
        f"Methods of the whole model explained the target {target!r}; metrics that ask the model look at the predicted "
        "class all the same."
    ]


def _heading(one: Contest) -> str:
    return one.label + (" ↑" if one.higher else " ↓")


def _cell(contest: Contest, one: Entry) -> str:
    rank = _rank(contest, one)
    if rank == "apart":
        return words.in_numbers(one) + ("†" if one.out and one.summary.count else "")
    return words.in_numbers(one) + {"best": "★", "level": "★", "chance": "°"}.get(rank, "")


def _rank(contest: Contest, one: Entry) -> Rank:
    if contest.best is None and not one.out:
        return "chance" if one.method in BASELINES else "worse" if contest.metric != RANDOMISED else "apart"
    if one.out:
        return "apart"
    if one.method in BASELINES:
        return "chance"
    if contest.best is not None and one.method == contest.best.method:
        return "best"
    return "level" if one in contest.level else "worse"


def _line(contest: Contest, one: Entry) -> dict[str, object]:
    return {
        "metric": contest.label,
        "method": one.method,
        "better": "higher" if contest.higher else "lower",
        "mean": one.summary.mean,
        "low": one.interval.low,
        "high": one.interval.high,
        "interval": one.interval.method + (f"; {one.interval.reason}" if one.interval.reason else ""),
        "sd": one.summary.sd,
        "texts": one.summary.count,
        "undefined": json.dumps(dict(one.summary.undefined), ensure_ascii=False),
        "rank": _rank(contest, one),
        "not_compared": one.out,
    }


def _tests(found: Findings) -> Table:
    lines = [
        {
            "metric": contest.label,
            "best": contest.best.method,
            "other": one.method,
            "difference": one.test.difference,
            "p": one.test.p_value,
            "p (Holm)": one.p_value,
            "texts": one.test.count,
            "reason": one.test.reason,
        }
        for contest in found.contests
        if contest.best is not None
        for one in contest.entries
        if one.test is not None
    ]
    names = ["metric", "best", "other", "difference", "p", "p (Holm)", "texts", "reason"]
    caption = "Paired permutation tests of the best method of each metric against each other one."
    frame = pd.DataFrame(lines, columns=names).set_index(["metric", "best", "other"])
    return Table("evaluation_tests", caption, frame, aside=True)


def _costs(found: Findings) -> Table:
    costs, plans = found.plan.costs, {plan.name: plan for plan in found.plan.settings.plans}
    lines = {
        name: {
            "seconds": costs.seconds[name],
            "forward passes": costs.passes[name],
            "scores": str(plans[name].quantity),
        }
        for name in found.plan.methods.names
    }
    caption = (
        f"Cost of one text alone: {len(costs.tokens)} texts of {', '.join(map(str, costs.tokens))} tokens, median of 3 "
        "times each, beside a plain run of the model on the same texts."
    )
    frame = pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")
    rounded = {"seconds": frame["seconds"].map("{:.4f}".format)}
    rounded["forward passes"] = frame["forward passes"].map("{:.1f}".format)
    shown = frame.assign(**rounded)
    return Table("evaluation_cost", caption, frame, shown)


def _panel(one: Contest) -> Panel:
    made = [
        Dot(entry.method, entry.summary.mean, entry.interval.low, entry.interval.high, _rank(one, entry))
        for entry in one.entries
        if entry.summary.mean is not None
    ]
    if one.metric == RANDOMISED:
        return Panel(f"{one.label} (near 0 is better)", made, None)
    title = one.label.replace("@", "\n@")  # a long name beside its arrow is wider than a panel
    return Panel(title, made, one.higher)


def _draw(panels: Sequence[Panel], canvas: object) -> None:
    dot_panels(canvas, panels)  # type: ignore[arg-type]


def _record(found: Findings) -> dict[str, object]:
    manifest, asked = found.runs[0].manifest, found.plan.settings
    return {
        "settings": asked.to_dict(),
        "suite": found.plan.suite,
        "removals": list(found.plan.removals),
        "methods_left_out": dict(found.plan.methods.left_out),
        "metrics_left_out": dict(found.plan.metrics.left_out),
        "model": manifest["model"],
        "data": manifest["data"],
        "versions": manifest["versions"],
        "seed": asked.seed,
        "seconds": round(found.seconds, 1),
        "runs": "runs",
    }
