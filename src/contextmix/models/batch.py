"""What several mixing maps find in one batch of sequences of equal length, measured in one run of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from contextmix.errors import UnsupportedModel
from contextmix.plugins.contracts import Measured
from contextmix.plugins.plan import Plan, layer_notes
from contextmix.traces.checks import Checks
from contextmix.traces.trace import LayerTrace

Wanted = Callable[[Plan, int], bool]


@dataclass(frozen=True)
class BatchMaps:
    """The maps of one batch.

    Attributes:
        plans: What was asked for: mixing maps, with or without an aggregation.
        found: For each plan, the map of each measured layer, (batch, ..., query, key).
        outputs: Of the model.
        checks: How well the trace proved itself, the worst sequence of the batch.
    """

    plans: Sequence[Plan]
    found: Sequence[list[Measured]]
    outputs: Any
    checks: Checks

    def maps(self, which: int) -> Tensor:
        """All measured layers of one plan: (layer, batch, ..., query, key)."""
        return torch.stack([one.values for one in self.found[which]])

    def notes(self, which: int, row: int) -> dict[str, list[Any]]:
        """What one plan reports on one sequence, name → one entry per measured layer."""
        return layer_notes(self.found[which], row)


@dataclass
class Measuring:
    """A visitor of `record` that measures each block as it passes.

    Attributes:
        plans: What to measure.
        wanted: Whether a plan needs a layer; None for all.
        found: For each plan, the maps so far.
    """

    plans: Sequence[Plan]
    wanted: Wanted | None = None
    found: list[list[Measured]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.found = [[] for _ in self.plans]

    def __call__(self, layer: LayerTrace) -> None:
        """Measure one block."""
        for plan, kept in zip(self.plans, self.found, strict=True):
            if layer.values_of is not None and plan.aggregation is not None:
                raise UnsupportedModel(
                    f"Layer {layer.index} mixes the values that layer {layer.values_of} made, so what it draws from a "
                    f"token is the token as it entered that one. {plan.aggregation.name} follows tokens from each "
                    "layer to the one before, and would credit others. No number was produced. Ask for the maps of "
                    "single layers (layers='all' without an aggregation) or for evidence."
                )
            if self.wanted is None or self.wanted(plan, layer.index):
                kept.append(plan.measure(layer))
