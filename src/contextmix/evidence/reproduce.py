"""The experiments of a paper on a model and data of one's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from contextmix.errors import BadInput, BadOption, ContextMixError, UnsupportedModel
from contextmix.evidence.experiment import EXPERIMENTS, Experiment, Setup, setup_of
from contextmix.evidence.report import Report
from contextmix.evidence.studies import refuse_unknown
from contextmix.options.option import filled, takes
from contextmix.options.sets import ReproduceOptions
from contextmix.views.figures.canvas import pyplot


@takes
def reproduce(study: str, out: Path | str, data: Any = None, **options: Unpack[ReproduceOptions]) -> list[Report]:
    """Do the experiments of a paper again; each report is written as soon as it is there.

    Args:
        study: ``"globenc"``, ``"value_zeroing"`` or ``"effective_attention"``.
        out: The folder of tables, figures, records and runs; an interrupted call resumes there.
        data: What `run` takes.
        options: As declared in `contextmix.options.sets.ReproduceOptions`. Where all experiments are asked for,
            one that does not fit model or data is passed over, and its report, which is not written, says why.

    Returns:
        One report per experiment. Where all are asked for, one that cannot be done here says why in its report.

    Raises:
        UnknownName: If there is no such study or experiment.
        BadInput: If the data lacks what an experiment needs that was asked for by name, or what all of them need.
        BadOption: The same of options; or if matplotlib is missing.
        UnsupportedModel: The same of the model.
    """
    asked = filled(ReproduceOptions, options, "reproduce")
    only = asked["only"]
    chosen = experiments_of(study, only)
    pyplot()  # every study has figures: rather refused now than after an hour of measuring
    more = {name: asked[name] for name in ("other_model", "tags_field", "tagger")}
    setup = replace(setup_of(data, out, asked, options, {*more, "only"}), **more)
    reports: list[Report] = []
    refusals: list[ContextMixError] = []
    for one in chosen:
        try:
            reports.append(_done(one, setup))
        except (BadInput, BadOption, UnsupportedModel) as refusal:
            if only is not None:
                raise
            refusals.append(refusal)
            reports.append(Report(f"{one.study}_{one.name}", one.title, [f"Not done. {refusal}"]))
    if len(refusals) == len(chosen):
        raise refusals[0]
    return reports


def experiments_of(study: str, only: Sequence[str] | None = None) -> list[Experiment]:
    """The experiments of a study, in the order of their names.

    Raises:
        UnknownName: If there is no such study or experiment.
    """
    refuse_unknown(study, only)
    own = [one for one in EXPERIMENTS.values() if one.study == study.replace("-", "_")]
    return [one for one in own if only is None or one.name in only]


def _done(experiment: Experiment, setup: Setup) -> Report:
    start = time.monotonic()
    found = experiment.run(setup)
    record = {
        "experiment": f"{experiment.study}_{experiment.name}",
        "paper": experiment.paper.short,
        "model": setup.traced.origin.model,
        "other_model": None if setup.other_model is None else setup.other.origin.model,
        "data": _named(setup.data),
        "limit": setup.limit,
        "seed": setup.seed,
        "versions": dict(setup.traced.origin.versions),
        "seconds": round(time.monotonic() - start, 1),
    }
    report = replace(found, record={**record, **found.record})
    report.save(setup.out)
    return report


def _named(data: Any) -> Any:
    """What the data are called, as a JSON value; rows in memory have no name."""
    if data is None or isinstance(data, str | Path):
        return None if data is None else str(data)
    named = isinstance(data, Sequence) and all(isinstance(one, str | Path) for one in data)
    return list(map(str, data)) if named else f"in memory: {type(data).__name__}"
