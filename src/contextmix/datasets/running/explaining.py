"""The task of a run over texts: scores of methods, as `explain` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from contextmix.datasets.reading.source import Source, open_source
from contextmix.datasets.running.measure import Measurer
from contextmix.datasets.running.task import Task
from contextmix.datasets.storage.settings import GOLD, RANDOMISED, Settings
from contextmix.errors import BadOption
from contextmix.options.option import declared
from contextmix.options.sets import AnsweringRows, Asking, Reading
from contextmix.options.values import ENOUGH_SHARDS, LARGEST_SHARD, OF_REPRESENTATION, SHARD_SIZE
from contextmix.plugins.own import named
from contextmix.plugins.scoring import METRICS
from contextmix.plugins.selection import spelled


def _settings(asked: Mapping[str, Any]) -> Settings:
    """What decides the numbers."""
    given = {each.name: asked[each.name] for each in fields(Settings)}
    methods, own = named(OF_REPRESENTATION if asked["methods"] is None else asked["methods"])
    names, judges = spelled(methods), spelled(asked["metrics"])
    reference = asked["reference"]
    if reference not in names and any(METRICS[one].against == "reference" and one != RANDOMISED for one in judges):
        names = (*names, reference)
    for name in ("options", "metric_options"):
        given[name] = {owner.replace("-", "_"): chosen for owner, chosen in (asked[name] or {}).items()}
    given["options"] |= own
    size = SHARD_SIZE if asked["shard_size"] is None else asked["shard_size"]
    return Settings(**{**given, "methods": names, "metrics": judges, "shard_size": size})


def _source(data: Any, asked: Mapping[str, Any], settings: Settings) -> Source:
    """The rows; columns that are missing are refused before the work."""
    query, query_field = asked["query"], asked["query_field"]
    if query is not None and query_field is not None:
        raise BadOption(
            f"query={query!r} applies to all rows, query_field={query_field!r} to each row separately. Use only one."
        )
    if settings.needs("rationale") and asked["rationale_field"] is None:
        raise BadOption(
            f"{', '.join(settings.metrics)}: at least one of these compares scores with what people marked. Name the "
            f"annotation column with rationale_field (--rationale-field), or leave out these metrics."
        )
    source = open_source(data, **{name: asked[name] for name in declared(Reading)})
    if asked["target"] == GOLD and source.fields.label is None:
        raise BadOption(
            "target='gold' explains the label of each text, but the data has no labels. Name its label_field."
        )
    return source


def _shard_size(count: int) -> int:
    """Rows that are sorted by length together: twice as many while there are enough shards."""
    size = SHARD_SIZE
    while size < LARGEST_SHARD and count >= 2 * size * ENOUGH_SHARDS:
        size *= 2
    return size


EXPLAIN = Task(
    "explain", "demo", _settings, _source, Measurer, {**declared(AnsweringRows), **declared(Asking)}, _shard_size
)
