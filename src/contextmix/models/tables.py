"""The tables that `contextmix` offers: methods, aggregations, metrics, and the model types of transformers."""

from __future__ import annotations

import pandas as pd

from contextmix import support
from contextmix.plugins.tables import aggregation_rows, method_rows, metric_rows


def methods() -> pd.DataFrame:
    """All methods: name, formula, paper, quantity, cost and needs."""
    return pd.DataFrame(method_rows()).set_index("method")


def aggregations() -> pd.DataFrame:
    """All aggregations: name, formula, paper, cost and the quantities that they accept."""
    return pd.DataFrame(aggregation_rows()).set_index("aggregation")


def metrics() -> pd.DataFrame:
    """All metrics: name, formula, paper, what scores are compared with, which numbers are better by default, cost."""
    return pd.DataFrame(metric_rows()).set_index("metric")


def models(model_type: str | None = None, *, status: str | None = None) -> pd.DataFrame:
    """Which model types of transformers can be read, as last tried on a small random model of each.

    A record and no list of permissions: any model is read if its own trace adds up, and `TracedModel.check` proves it.

    Args:
        model_type: Only this one, as in ``model.config.model_type``.
        status: Only ``"verified"``, ``"refused"``, ``"not tried"`` or ``"inside another"`` (no model of its own).

    Returns:
        Index ``model_type``. Columns: status; class; part (the sub-models that were proved where the whole is refused,
        empty for the whole); inputs (what they were given); layouts; blocks; causal (whether no position draws on a
        later one); conservation, block_equation and parity (largest relative errors); reason (why not, or why only in
        part). The versions of transformers and torch are in ``attrs["versions"]``.

    Raises:
        UnknownName: If there is no such model type or status.

    Example:
        >>> models("llama").loc["llama", "layouts"]
        'pre-norm'
    """
    return support.table(model_type, status)
