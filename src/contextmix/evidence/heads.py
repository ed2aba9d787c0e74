"""Attention of each head beside its effective attention: what the experiments of Sun & Marasović (2021) start from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contextmix.evidence.experiment import Setup
from contextmix.evidence.streamed import Streamed
from contextmix.models.traced_model import TracedModel
from contextmix.plugins.plan import make_plan
from contextmix.statistics.summaries import Interval, interval, normal_interval
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.inputs.encode import Inputs

Array = NDArray[np.float64]

LONGEST = 128
"""Texts are cut to so many tokens, as in the authors' code; they also pad to it, which is no part of the definition."""

_PLANS = [make_plan(name, None, {"heads": "each"}) for name in ("attention", "effective_attention")]


@dataclass(frozen=True)
class Maps:
    """The maps of one layer of one text.

    Attributes:
        raw: Attention, (head, query, key).
        effective: The same without what the values cancel; signed.
        layer: What they were made from.
    """

    raw: Array
    effective: Array
    layer: LayerTrace

    @property
    def head_size(self) -> int:
        """Dimensions of a value vector: with so many tokens nothing is cancelled as a rule."""
        return int(self.layer.value.shape[-1])


def maps_of(model: TracedModel, inputs: Inputs) -> Iterator[Maps]:
    """The maps of one text, one layer at a time, in float64 (from what the model computed in its own precision)."""
    for layer in model.trace(dict(inputs.tensors)).layers:
        raw, effective = (plan.measure(layer).values.double().cpu().numpy() for plan in _PLANS)
        yield Maps(raw, effective, layer)


def head_size(model: TracedModel) -> int:
    """Dimensions of a head's values."""
    return int(model.trace({"input_ids": [0, 0]}).layers[0].value.shape[-1])


# Over texts ----------------------------------------------------------------------------------------------------------


def mean_over_heads(values: Array, setup: Setup) -> list[tuple[float, Interval]]:
    """Values (text, layer, head) → for each layer the mean over texts and heads, with the interval over texts."""
    per_text = values.mean(axis=2)
    return [(float(layer.mean()), interval(list(layer), seed=setup.seed)) for layer in per_text.T]


def each_head(columns: Mapping[str, Array], change: str) -> pd.DataFrame:
    """Means over texts of each layer and head, and the interval of one of the columns.

    Args:
        columns: Name → values (text, layer, head).
        change: The column that has an interval: normal, 95 %, as there are many heads and bootstraps would take long.

    Returns:
        One line per layer and head, both counted from 1.
    """
    means = {name: values.mean(axis=0) for name, values in columns.items()}
    lines = []
    for layer, head in np.ndindex(means[change].shape):
        found = normal_interval(list(columns[change][:, layer, head]), 0.95)
        own = {name: mean[layer, head] for name, mean in means.items()}
        lines.append({"layer": layer + 1, "head": head + 1, **own, "low": found.low, "high": found.high})
    return pd.DataFrame(lines)


def stacked(streamed: Streamed, field: str) -> Array:
    """One field of all texts, (text, ...)."""
    return np.array([entry[field] for entry in streamed.entries], dtype=np.float64)


UNCORRECTED = " by 95 % intervals, not corrected for their number"
OTHERS = " In the others effective attention is attention, as a rule."

# In words ------------------------------------------------------------------------------------------------------------


def number(value: float | None, *, sign: bool = False) -> str:
    """``0.123``, or ``+0.123``; a dash where there is none."""
    return "–" if value is None or pd.isna(value) else f"{value:{'+' if sign else ''}.3f}"


def bounded(value: float, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """``0.123 [0.110, 0.135]``; without an interval the number alone."""
    written = [number(one, sign=sign) for one in (value, low, high)]
    return written[0] if "–" in written[1:] else f"{written[0]} [{written[1]}, {written[2]}]"


def about_texts(tokens: Sequence[int], problems: Mapping[str, int], size: int) -> list[str]:
    """What must be known of the texts to read the numbers: lengths, those left out, why there is no interval."""
    longer = sum(one > size for one in tokens)
    said = [
        f"{len(tokens):,} texts of {min(tokens)} to {max(tokens)} tokens; a head has {size} dimensions, and {longer:,} "
        f"of the texts have more tokens than that.{OTHERS if longer < len(tokens) else ''}"
    ]
    if not longer:
        said = [
            f"All {len(tokens):,} texts have at most {max(tokens)} tokens and a head has {size} dimensions, so "
            "effective attention is attention (unless values of tokens are linearly dependent). Give longer texts to "
            "see them differ."
        ]
    if problems:
        said.append(f"Left out: {', '.join(f'{count:,} texts ({kind})' for kind, count in problems.items())}.")
    missing = interval([0.0] * len(tokens)).reason
    return said + ([f"No intervals: {missing}."] if missing else [])


def decided(values: pd.DataFrame) -> tuple[int, int, int]:
    """Heads whose interval lies below zero, above it, and all heads."""
    low, high = (pd.to_numeric(values[name]) for name in ("low", "high"))
    return int((high < 0).sum()), int((low > 0).sum()), len(values)


def grid(frame: pd.DataFrame, column: str) -> Any:
    """A column of `each_head` as a matrix (layer, head)."""
    return frame.pivot(index="layer", columns="head", values=column).to_numpy(dtype=np.float64)
