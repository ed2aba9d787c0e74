"""All plug-ins as rows of a table, from what their files say: no plug-in is imported."""

from __future__ import annotations

from contextmix.plugins.registry import AGGREGATIONS, METHODS, METRICS
from contextmix.plugins.selection import selected

Rows = list[dict[str, str]]
"""Name of a column → text, one per plug-in; the first column is its name."""


def method_rows() -> Rows:
    """All methods: name, formula, paper, quantity, cost and requirements.

    Example:
        >>> next(row["quantity"] for row in method_rows() if row["method"] == "globenc")
        'norm'
    """
    rows = []
    for name in METHODS.names:
        one, found = METHODS.described(name), selected(name)
        row = {"method": name, "formula": one.formula, "paper": one.paper.short, "quantity": str(found.quantity)}
        rows.append({**row, "cost": one.cost, "requirements": found.method.needs})
    return rows


def aggregation_rows() -> Rows:
    """All aggregations: name, formula, paper, cost and the quantities that they accept."""
    found = {name: AGGREGATIONS.described(name) for name in AGGREGATIONS.names}
    return [
        {"aggregation": name, "formula": one.formula, "paper": one.paper.short, "cost": one.cost}
        | {"accepts": ", ".join(sorted(one.accepts))}
        for name, one in found.items()
    ]


def metric_rows() -> Rows:
    """All metrics: name, formula, paper, what scores are compared with, which numbers are better by default, cost."""
    found = {name: METRICS.described(name) for name in METRICS.names}
    return [
        {"metric": name, "formula": one.formula, "paper": one.paper.short, "against": one.against}
        | {"better": one.better({}), "cost": one.cost}
        for name, one in found.items()
    ]
