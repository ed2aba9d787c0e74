"""The manifest of a run: everything that decides its numbers, and how to read its columns."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from contextmix.datasets.running.work import Work
from contextmix.datasets.storage.table import SCHEMA


def described(work: Work) -> dict[str, Any]:
    """The manifest of a run: everything that decides its numbers, and how to read its columns."""
    measurer, source = work.measurer, work.source
    return {
        "schema": SCHEMA,
        "settings": measurer.settings.to_dict(),
        "data": {**source.fingerprint, "rows": source.count, "fields": asdict(source.fields)},
        "model": dict(measurer.identity),
        "versions": dict(measurer.model.origin.versions),
        **measurer.described(),
    }
