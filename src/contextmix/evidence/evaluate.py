"""Which method should I believe for my model? Methods against metrics on a data set, with uncertainty."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from contextmix.datasets.storage.results import Run
from contextmix.datasets.storage.settings import RANDOMISED, REFERENCE
from contextmix.errors import BadOption
from contextmix.evidence.choices import by_construction
from contextmix.evidence.contest import Contest, contest
from contextmix.evidence.experiment import Setup
from contextmix.evidence.findings import Findings, report
from contextmix.evidence.planning import Plan, Request, planned
from contextmix.evidence.report import Report
from contextmix.evidence.streamed import source_of
from contextmix.evidence.workers import usual_workers
from contextmix.models.predictor import Removal
from contextmix.plugins.plan import METHODS
from contextmix.plugins.scoring import METRICS
from contextmix.tracing.inputs.targets import Asked
from contextmix.views.figures.canvas import pyplot

SHARD_ROWS = 16
"""Texts per shard: each takes a second or so, and several workers share them evenly."""
SANITY_ROWS = 50
"""Texts on which the model with random weights is run too."""


def evaluate(
    data: Any,
    out: Path | str,
    *,
    model: Any = "demo",
    methods: str | Sequence[str] = "all",
    metrics: str | Sequence[str] = "all",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    metric_options: Mapping[str, Mapping[str, Any]] | None = None,
    reference: str = REFERENCE,
    removal: Removal | None = None,
    target: Asked = None,
    sanity: int = SANITY_ROWS,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
    **reading: Any,
) -> Report:
    """Compare methods by metrics on a model and a data set; tables, a figure and plain words are written to a folder.

    Every text is measured by `run`, in ``out/runs``: an interrupted call goes on where it was. Every metric is
    computed for every method on every text. Beside means there are 95 % bootstrap intervals, paired permutation tests
    of the best method against each other one (corrected by Holm), random scores as a baseline, and the cost of each
    method for one text.

    Args:
        data: What `run` takes.
        out: The folder.
        model: What `load` takes, or a model that it gave.
        methods: Names, or ``"all"``: all but those that are slow or one step of another one, and those that the model
            does not support; the report names them. ``"random"`` always takes part.
        metrics: Names, or ``"all"``: all but near duplicates and those for which the data lack something. Among them
            ``"randomised_weights"``, the check with random weights.
        options: Method → its options.
        metric_options: Metric → its options; areas take 10 steps unless told otherwise.
        reference: What metrics against a reference compare with.
        removal: What stands in the place of a token that is taken away; left out, ``"mask"``, or ``"delete"`` where
            the tokenizer has no mask.
        target: What methods of the whole model explain; left out, the predicted class, which is also what the metrics
            look at.
        sanity: Rows on which the model with random weights is run.
        limit: Only so many rows.
        seed: Of random scores, random weights and resampling.
        progress: Show how far it has come.
        reading: Further arguments of `run`: names of fields (``rationale_field``), ``device`` … Left out, ``workers``
            is chosen: several processes for a small model, named or in a folder, on data that they can read too.

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
        ...     found = evaluate(rows, out, methods=["globenc", "occlusion"], metrics=["aopc"], progress=False)
        >>> list(found.tables[0].shown.columns)
        ['aopc ↑']
    """
    start = time.monotonic()
    pyplot()  # rather than after an hour of measuring
    METHODS[reference]  # a name that does not exist is refused, also where no metric refers to it
    if sanity < 1:
        raise BadOption(f"sanity={sanity!r} is a number of texts for the check with random weights, at least 1.")
    setup = Setup(model, data, Path(out), limit, seed, {"shard_size": SHARD_ROWS, **reading}, progress)
    request = Request(methods, metrics, options or {}, metric_options or {}, reference, removal, target)
    plan = planned(setup, request)
    run, contests = measured(setup, plan, sanity)
    made = report(Findings(setup, plan, run, contests, time.monotonic() - start))
    made.save(setup.out)
    return made


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
        more["workers"] = usual_workers(setup, source_of(setup), SHARD_ROWS)
    run = setup.measured("metrics", **more)
    return run, _compared(run, plan)


def _compared(run: Run, plan: Plan) -> list[Contest]:
    outcomes, asked, found = run.outcomes(), plan.settings, []
    checked = [run.settings.is_randomised(row) for row in run.to_pandas([]).index]
    for name in sorted(asked.metrics, key=lambda name: name == RANDOMISED):
        kept = checked if name == RANDOMISED else [True] * len(checked)
        own = {method: list(compress(outcomes[name, method], kept)) for method in plan.methods.names}
        reasons = {method: by_construction(name, method, asked) for method in own}
        out = {method: reason for method, reason in reasons.items() if reason}
        higher = METRICS[name].prefers_higher(asked.metric_options.get(name, {}))
        found.append(contest(name, own, higher=higher, out=out, compared=name != RANDOMISED, seed=asked.seed))
    return found
