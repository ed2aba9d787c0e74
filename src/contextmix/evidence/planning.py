"""Before a comparison: what can take part with this model and these data, tried out on a few texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, get_args

import numpy as np

from contextmix.datasets.reading.source import Source
from contextmix.datasets.running.measure import Measurer, Ready
from contextmix.datasets.storage.settings import RANDOMISED, Settings
from contextmix.errors import BadInput, BadOption, ContextMixError
from contextmix.evidence.choices import Choice, methods_of, metrics_of
from contextmix.evidence.contest import BASELINES
from contextmix.evidence.cost import Costs, measured_costs, typical
from contextmix.evidence.experiment import Setup
from contextmix.evidence.streamed import source_of
from contextmix.evidence.suites import WAYS, Lineup, lineup_of
from contextmix.models.predictor import predictor
from contextmix.options.values import Asked, OfEach, Removal, SuiteName
from contextmix.plugins.scoring import METRICS
from contextmix.tracing.inputs.targets import speaks

LOOKED_AT = 64
"""Rows from which texts of middling length are chosen to try methods on."""


@dataclass(frozen=True)
class Request:
    """Who is to take part: the options of `evaluate` of the same names."""

    methods: str | Sequence[str]
    metrics: str | Sequence[str]
    options: OfEach
    metric_options: OfEach
    reference: str
    removal: Removal | None
    target: Asked
    suite: SuiteName | None = None


@dataclass(frozen=True)
class Plan:
    """Who takes part.

    Attributes:
        settings: Of the run; its methods also hold the reference.
        methods: Those that are compared.
        metrics: Those that compare them.
        costs: Of the methods.
        classes: Names of the model's classes.
        suite: Name of the fixed comparison that this is, if it is one.
        removals: Each metric is computed under each; the first is that of the settings.
        removals_left_out: Removal → why the model cannot do it.
    """

    settings: Settings
    methods: Choice
    metrics: Choice
    costs: Costs
    classes: Sequence[str]
    suite: SuiteName | None
    removals: tuple[Removal, ...]
    removals_left_out: Mapping[str, str]


def planned(setup: Setup, request: Request) -> Plan:
    """Choose methods and metrics, and leave out what the model does not support.

    Raises:
        BadOption: If something was named that cannot be, or options contradict each other.
        BadInput: If no text can be measured, or nothing is left to compare.
    """
    lineup = None if request.suite is None else lineup_of(request.suite, setup.traced)
    removal = request.removal or _usual_removal(setup)
    if removal not in get_args(Removal):
        raise BadOption(f"removal={removal!r} is not one of {', '.join(get_args(Removal))}.")
    source = source_of(setup)
    all_methods = request.methods == "all"
    methods = methods_of(lineup.methods if lineup and all_methods else request.methods)
    if lineup:
        request = _of_suite(request, lineup)
        methods = replace(methods, left_out=lineup.left_out) if all_methods else methods
    metrics = metrics_of(request.metrics, rationales=source.fields.rationale is not None)
    options = {"random": {"seed": setup.seed}, **(request.options or {})}
    extra = () if request.reference in methods.names or not any(map(_refers, metrics.names)) else (request.reference,)
    reading: Any = {"truncate": True, "add_special_tokens": setup.reading.get("add_special_tokens")}
    settings = Settings((*methods.names, *extra), options, target=request.target, seed=setup.seed, **reading)
    texts = _texts(setup, settings, source)
    removals, unable = _removals(setup, texts[0], lineup) if lineup else ((removal,), {})
    removal = removals[0]
    costs = measured_costs(setup.traced, settings, texts)
    methods = _supported("method", methods, costs.refused, by_name=not all_methods)
    refused = _refused(setup, metrics, costs, request.reference, texts[0], removal)
    metrics = _supported("metric", metrics, refused, by_name=request.metrics != "all")
    areas: dict[str, Mapping[str, Any]] = {
        name: {"steps": 10} for name in ("deletion_area", "insertion_area", "mas") if name in metrics.names
    }
    names = (*methods.names, *(name for name in extra if name not in costs.refused))
    final = Settings(
        names,
        {name: one for name, one in options.items() if name in names},
        target=request.target,
        metrics=metrics.names,
        metric_options={**areas, **(request.metric_options or {})},
        reference=request.reference,
        removal=removal,
        seed=setup.seed,
        **reading,
    )
    return Plan(final, methods, metrics, costs, _classes(setup, final), request.suite, removals, unable)


def _of_suite(request: Request, lineup: Lineup) -> Request:
    """The metrics of a suite in the place of those that are asked for.

    Raises:
        BadOption: If metrics, their options or a removal were named beside it.
    """
    for name, usual in {"metrics": "all", "metric_options": None, "removal": None}.items():
        if (given := getattr(request, name)) != usual and given:
            raise BadOption(
                f"{name}={given!r} was given beside suite={request.suite!r}, which chooses metrics and removals so "
                "that its tables can be compared. Leave one of the two out; methods may be named beside a suite."
            )
    return replace(request, metrics=lineup.metrics)


def _removals(setup: Setup, text: Ready, lineup: Lineup) -> tuple[tuple[Removal, ...], dict[str, str]]:
    """The first few removals that the model can do, and why it cannot do others.

    Raises:
        BadInput: If there are fewer than two.
    """
    found: list[Removal] = []
    unable: dict[str, str] = {}
    for one in lineup.removals:
        if len(found) < WAYS:
            try:
                predict = predictor(setup.traced, text.inputs, removal=one)
                predict(np.ones((1, text.inputs.length), bool))
                found.append(one)
            except ContextMixError as refusal:
                unable[one] = str(refusal)
    if len(found) < WAYS:
        why = " ".join(f"{name}: {reason}" for name, reason in unable.items())
        raise BadInput(
            f"A suite computes each metric under {WAYS} removals, since one alone may favour the methods that resemble "
            f"it, and this model can do {len(found)} of {', '.join(lineup.removals)}. {why} Name the metrics and a "
            "removal instead of a suite."
        )
    return tuple(found), unable


def _classes(setup: Setup, settings: Settings) -> list[str]:
    """The classes that a label can name: none where the model scores the tokens of its vocabulary."""
    return [] if speaks(setup.traced.model) else Measurer(setup.traced, settings).classes()


def _texts(setup: Setup, settings: Settings, source: Source) -> list[Ready]:
    """Texts to try methods on.

    Raises:
        BadInput: If none of the first rows can be read.
    """
    read = Measurer(setup.traced, settings).read(list(islice(source.rows(), LOOKED_AT)))
    label = setup.traced.labels
    ready = [
        replace(one, inputs=replace(one.inputs, tokens=label(one.inputs, one.inputs.length)))
        for one in read
        if isinstance(one, Ready)
    ]
    if not ready:
        problem = read[0].problem  # type: ignore[union-attr]
        raise BadInput(f"None of the first {len(read)} rows can be measured. {problem.reason if problem else ''}")
    return typical(ready)


def _usual_removal(setup: Setup) -> Removal:
    """The mask of a model that was trained with one; a decoder was not, whatever its tokenizer holds."""
    masks = getattr(setup.traced.tokenizer, "mask_token_id", None) is not None and not setup.traced.is_causal
    return "mask" if masks else "delete"


def _supported(what: str, choice: Choice, refused: Mapping[str, str], *, by_name: bool) -> Choice:
    """What is left; a name that the user gave is never left out silently."""
    own = {name: reason for name, reason in refused.items() if name in choice.names}
    if own and (by_name and own.keys() - BASELINES.keys()):
        name, reason = next((name, reason) for name, reason in own.items() if name not in BASELINES)
        raise BadOption(f"The {what} {name} cannot be used here. {reason}")
    left = choice.without(own)
    if not set(left.names) - BASELINES.keys():
        raise BadInput(f"No {what} is left to compare. " + " ".join(f"{name}: {why}" for name, why in own.items()))
    return left


def _refused(
    setup: Setup, metrics: Choice, costs: Costs, reference: str, text: Ready, removal: Removal
) -> dict[str, str]:
    """Metric → why it cannot be computed here."""
    found = {}
    if reference in costs.refused:
        reason = f"The reference {reference} is not possible: {costs.refused[reference]}"
        found = {name: reason for name in metrics.names if _refers(name)}
    asking: dict[Any, list[str]] = {}  # removal → metrics
    for name in metrics.names:
        if METRICS[name].against == "model":
            asking.setdefault(METRICS[name].removal or removal, []).append(name)
    for asked, names in asking.items():
        try:
            predictor(setup.traced, text.inputs, removal=asked)
        except ContextMixError as refusal:
            found |= dict.fromkeys(names, str(refusal))
    return found


def _refers(metric: str) -> bool:
    return METRICS[metric].against == "reference" and metric != RANDOMISED
