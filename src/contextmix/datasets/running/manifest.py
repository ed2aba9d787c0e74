"""The manifest of a run: everything that decides its numbers, and how to read its columns."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from contextmix.datasets.running.measure import Measurer
from contextmix.datasets.running.scores import axes_of
from contextmix.datasets.running.work import Work
from contextmix.datasets.storage.identity import model_identity
from contextmix.datasets.storage.settings import Settings
from contextmix.datasets.storage.table import SCHEMA
from contextmix.plugins.contracts import Metric
from contextmix.plugins.plan import Plan


def described(work: Work) -> dict[str, Any]:
    """The manifest of a run: everything that decides its numbers, and how to read its columns."""
    measurer, source = work.measurer, work.source
    model, settings = measurer.model, measurer.settings
    return {
        "schema": SCHEMA,
        "settings": settings.to_dict(),
        "data": {**source.fingerprint, "rows": source.count, "fields": asdict(source.fields)},
        "model": model_identity(model),
        "versions": dict(model.origin.versions),
        "columns": {plan.name: _column(plan, measurer) for plan in settings.plans},
        "metrics": {one.name: _judging(one, settings) for one in settings.judges},
    }


def _judging(metric: Metric, settings: Settings) -> dict[str, Any]:
    """How to read the columns of a metric."""
    how = {"against": metric.against, "better": metric.better(settings.metric_options.get(metric.name, {}))}
    return {**how, "formula": metric.formula, "paper": metric.paper.short}


def _column(plan: Plan, measurer: Measurer) -> dict[str, Any]:
    made = measurer.model.origin.provenance({}, **plan.describe())
    return {
        "dims": axes_of(plan, measurer.settings),
        "quantity": str(plan.quantity),
        "layers": measurer.settings.shown(plan, measurer.count),
        "targets": measurer.classes() if measurer.settings.target == "all" else None,
        "provenance": {**made.to_dict(), "checks": {}},
    }
