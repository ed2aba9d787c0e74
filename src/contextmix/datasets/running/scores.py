"""Which rows of the maps of a batch are kept for each text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from contextmix.datasets.reading.rows import Row
from contextmix.datasets.storage.settings import Settings
from contextmix.models.batch import BatchMaps
from contextmix.options.values import Asked
from contextmix.plugins.contracts import Measured, Metric, Scored
from contextmix.plugins.plan import Plan
from contextmix.results import labels
from contextmix.tokens.pieces import Tokens
from contextmix.traces.checks import Origin
from contextmix.tracing.inputs.encode import Inputs

Array = NDArray[Any]


@dataclass
class Draft:
    """One text while it is measured.

    Attributes:
        row: The row of the data.
        inputs: What the model reads.
        tokens: Its pieces.
        places: The pieces whose rows are kept, averaged: one piece, or all of a word.
        scores: Method → (..., key).
        maps: Method → (..., query, key), where these are kept.
        notes: Method → its report.
        prediction: What the model says, and its probability.
        target: What methods of the whole model explain.
        explained: The same as a target that another model can be asked for.
        asked: What they are asked for, where it is not the settings' target.
        metrics: ``metric:method`` → what the metric says of the scores.
    """

    row: Row
    inputs: Inputs
    tokens: Tokens
    places: tuple[int, ...]
    scores: dict[str, Array] = field(default_factory=dict)
    maps: dict[str, Array] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    prediction: dict[str, Any] = field(default_factory=dict)
    target: str | None = None
    explained: Asked = None
    asked: Asked = None
    metrics: Mapping[str, Scored] = field(default_factory=dict)

    def merge_words(self) -> Tokens:
        """Merge sub-words as `TokenMap.words` does: sum over keys, mean over queries."""
        merged, groups = self.tokens.merged()
        for name, values in self.scores.items():
            self.scores[name] = labels.summed(values, values.ndim - 1, groups)
        for name, values in self.maps.items():
            rows = labels.averaged(values, values.ndim - 2, groups)
            self.maps[name] = labels.summed(rows, values.ndim - 1, groups)
        return merged


def axes_of(plan: Plan, settings: Settings) -> tuple[str, ...]:
    """The axes of the scores that a plan gives for one text."""
    if plan.of_model:
        return ("target", "key") if settings.target == "all" else ("key",)
    heads = ("head",) if plan.options.get("heads") == "each" else ()
    return (*(() if settings.layers is None else ("layer",)), *heads, "key")


def columns_of(
    settings: Settings, origin: Origin, count: int, classes: Sequence[str] | None
) -> dict[str, dict[str, Any]]:
    """How to read the columns of the methods, for the manifest.

    Args:
        settings: Which methods, and what is kept.
        origin: The model's.
        count: Number of its blocks.
        classes: The names of its classes, where all are explained.
    """
    return {plan.name: _column(plan, settings, origin, count, classes) for plan in settings.plans}


def _column(
    plan: Plan, settings: Settings, origin: Origin, count: int, classes: Sequence[str] | None
) -> dict[str, Any]:
    return {
        "dims": axes_of(plan, settings),
        "quantity": str(plan.quantity),
        "layers": settings.shown(plan, count),
        "targets": classes,
        "provenance": {**origin.provenance({}, **plan.describe()).to_dict(), "checks": {}},
    }


def metrics_of(settings: Settings) -> dict[str, dict[str, Any]]:
    """How to read the columns of the metrics, for the manifest."""
    return {one.name: _judging(one, settings) for one in settings.judges}


def _judging(metric: Metric, settings: Settings) -> dict[str, Any]:
    how = {"against": metric.against, "better": metric.better(settings.metric_options.get(metric.name, {}))}
    return {**how, "formula": metric.formula, "paper": metric.paper.short}


def keep(batch: BatchMaps, which: int, settings: Settings, count: int, drafts: Sequence[Draft]) -> None:
    """Take from the maps of one plan what is kept of each text.

    Args:
        batch: The maps of all plans.
        which: The plan.
        settings: What is kept.
        count: Number of the model's blocks.
        drafts: The texts of the batch, which are filled in.
    """
    plan, maps = batch.plans[which], batch.maps(which)
    for row, draft in enumerate(drafts):
        _note(draft, plan, batch.notes(which, row))
    if plan.aggregation is not None and settings.layers is None and not settings.maps:
        _keep_rows(plan, maps, drafts)
        return
    combined = plan.combine(maps)
    measured = [layer for layer in range(count) if settings.wants(plan, layer, count)]
    chosen = [measured.index(layer) for layer in settings.shown(plan, count)]  # in the order that was asked for
    kept = combined.values[chosen].cpu().numpy()
    for row, draft in enumerate(drafts):
        own = kept[:, row] if settings.layers is not None else kept[0, row]
        draft.scores[plan.name] = own[..., draft.places, :].mean(-2)
        if settings.maps:
            draft.maps[plan.name] = own
        _note(draft, plan, _of_row(combined, row))


def _keep_rows(plan: Plan, maps: Tensor, drafts: Sequence[Draft]) -> None:
    """The row of one query after all layers, which is cheaper than all rows."""
    for place in {place for draft in drafts for place in draft.places}:
        rows = [row for row, draft in enumerate(drafts) if place in draft.places]
        found = plan.combine_row(maps if len(rows) == len(drafts) else maps[:, rows], place)
        for number, row in enumerate(rows):
            draft = drafts[row]
            share = found.values[number].cpu().numpy() / len(draft.places)
            draft.scores[plan.name] = draft.scores.get(plan.name, 0.0) + share
            _note(draft, plan, _of_row(found, number))


def _of_row(found: Measured, row: int) -> dict[str, Any]:
    """What an aggregation reports on one text: the batch is the last axis of its notes."""
    return {name: value[..., row].tolist() for name, value in found.notes.items()}


def _note(draft: Draft, plan: Plan, notes: dict[str, Any]) -> None:
    if notes:
        draft.notes[plan.name] = {**draft.notes.get(plan.name, {}), **notes}
