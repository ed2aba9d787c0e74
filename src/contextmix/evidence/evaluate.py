"""Which method should I believe for my model? Methods against metrics on a data set, with uncertainty."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from itertools import compress
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from contextmix.datasets.storage.results import Run
from contextmix.datasets.storage.settings import RANDOMISED, Settings
from contextmix.evidence.choices import by_construction
from contextmix.evidence.contest import Contest, contest
from contextmix.evidence.experiment import Setup, setup_of
from contextmix.evidence.findings import Findings, report
from contextmix.evidence.planning import Plan, Request, planned
from contextmix.evidence.report import Report
from contextmix.evidence.streamed import source_of
from contextmix.evidence.workers import usual_workers
from contextmix.options.option import filled, takes
from contextmix.options.sets import EvaluateOptions
from contextmix.plugins.own import named
from contextmix.plugins.plan import METHODS
from contextmix.plugins.scoring import METRICS
from contextmix.views.figures.canvas import pyplot

SHARD_ROWS = 16
"""Texts per shard: each takes a second or so, and several workers share them evenly."""


@takes
def evaluate(data: Any, out: Path | str, **options: Unpack[EvaluateOptions]) -> Report:
    """Compare methods by metrics on a model and a data set; tables, a figure and plain words are written to a folder.

    Every text is measured by `run`, in ``out/runs``: an interrupted call resumes where it stopped. Every metric is
    computed for every method on every text. Beside means there are 95 % bootstrap intervals, paired permutation tests
    of the best method against each other one (corrected by Holm), three baselines,
    and the cost of each method for one text.

    Args:
        data: What `run` takes.
        out: The folder.
        options: As declared in `contextmix.options.sets.EvaluateOptions`.

    Returns:
        The report, which was also written to the folder.

    Raises:
        UnknownName: If a method or metric does not exist.
        BadInput: If no text of the data can be measured, or the data lack what a metric needs that was named.
        BadOption: If options contradict each other, or matplotlib is missing.

    Example:
        >>> import tempfile
        >>> rows = [{"text": f"a {word} film"} for word in "good bad dull fine warm slow deep flat new old".split()]
        >>> with tempfile.TemporaryDirectory() as out:
        ...     report = evaluate(rows, out, methods=["globenc", "occlusion"], metrics=["aopc"], progress=False)
        >>> list(report.tables[0].shown.columns)
        ['aopc ↑']
    """
    start = time.monotonic()
    asked = filled(EvaluateOptions, options, "evaluate")
    pyplot()  # rather than after an hour of measuring
    METHODS[asked["reference"]]  # a name that does not exist is refused, also where no metric refers to it
    own = [each.name for each in fields(Request)]
    setup = setup_of(data, out, asked, {"shard_size": SHARD_ROWS, **options}, {*own, "sanity"})
    methods, functions = named(asked["methods"])
    options_of_all = {**(asked["options"] or {}), **functions}
    request = {**{name: asked[name] for name in own}, "methods": methods, "options": options_of_all}
    plan = planned(setup, Request(**request))
    runs: list[Run] = []
    contests: list[Contest] = []
    for one in _of_each_removal(plan):
        run, found = measured(setup, one, asked["sanity"])
        runs.append(run)
        contests += found
    contests.sort(key=lambda one: plan.metrics.names.index(one.metric) if plan.suite else 0)
    made = report(Findings(setup, plan, runs, contests, time.monotonic() - start))
    made.save(setup.out)
    return made


def _of_each_removal(plan: Plan) -> list[Plan]:
    """A plan for each removal; runs over the data differ by it."""
    return [replace(plan, settings=replace(plan.settings, removal=one)) for one in plan.removals]


def measured(setup: Setup, plan: Plan, sanity: int) -> tuple[Run, list[Contest]]:
    """Run over the data, with the check with random weights on the first few texts.

    Args:
        setup: Model, data and folder.
        plan: Who takes part.
        sanity: Rows of the check.

    Returns:
        The run, and one contest per metric.
    """
    asked = plan.settings
    names = ("methods", "options", "target", "seed", "reference", "metrics", "metric_options", "removal")
    more: dict[str, Any] = {name: getattr(asked, name) for name in names}
    if asked.metrics == (RANDOMISED,):
        more["limit"] = min(sanity, setup.limit or sanity)
    elif RANDOMISED in asked.metrics:
        more["randomised_rows"] = sanity
    if "workers" not in setup.reading:
        more["workers"] = 1 if asked.functions else usual_workers(setup, source_of(setup), SHARD_ROWS)
    run = setup.measured(f"metrics-{asked.removal}" if plan.suite else "metrics", **more)
    return run, _compared(run, plan)


def _compared(run: Run, plan: Plan) -> list[Contest]:
    outcomes, asked, found = run.outcomes(), plan.settings, []
    assert isinstance(run.settings, Settings)  # of scores, not of answers
    checked = [run.settings.is_randomised(row) for row in run.to_pandas([]).index]
    for name in sorted(asked.metrics, key=lambda name: name == RANDOMISED):
        kept = checked if name == RANDOMISED else [True] * len(checked)
        own = {method: list(compress(outcomes[name, method], kept)) for method in plan.methods.names}
        reasons = {method: by_construction(name, method, asked) for method in own}
        out = {method: reason for method, reason in reasons.items() if reason}
        higher = METRICS[name].prefers_higher(asked.metric_options.get(name, {}))
        made = contest(name, own, higher=higher, out=out, compared=name != RANDOMISED, seed=asked.seed)
        found.append(replace(made, removal=asked.removal if plan.suite else ""))
    return found
