"""What each head of each block does at the rows that are read: the maps whose sum is weighed by learning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from contextmix.errors import UnsupportedModel
from contextmix.maths.evidence import spoken_by_head
from contextmix.maths.shapes import by_shapes
from contextmix.traces.read_down import directions_of, passed_down
from contextmix.traces.span_run import SpanRun
from contextmix.traces.trace import LayerTrace
from contextmix.traces.weights import weights_of

Feature = Literal["evidence", "attention", "norm"]
"""What is measured of a head: what it draws that speaks for what was said, its weights, or lengths."""


@dataclass(frozen=True)
class HeadMaps:
    """The maps of one block, or of one step of a block with two attentions.

    Attributes:
        number: Of the block or step, from 0.
        columns: Which keys they are over.
        values: (head, row, key), ≥ 0.
        size: ‖W_O‖, the length of its output projection, by which weights that were learned on a model know it again.
    """

    __repr__ = by_shapes

    number: int
    columns: slice
    values: Tensor
    size: float


def head_maps(run: SpanRun, feature: Feature, name: str) -> Iterator[HeadMaps]:
    """The maps of all blocks, one after another; in which order depends on the feature.

    Args:
        run: The rows.
        feature: What is measured.
        name: Of the method that asks.

    Raises:
        UnsupportedModel: If the model has no such maps.
    """
    if feature == "evidence":
        layers, scores = run.recorded
        last, allowed = layers[-1].residual_out, layers[-1].tolerance
        for one in passed_down(layers, directions_of(run, last, scores, "log_odds", allowed, name)):
            read = one.layer
            weight = read.block.output_weight
            drawn = spoken_by_head(read.attention, read.value, weight, one.drawing, read.gate)
            yield HeadMaps(one.number, read.columns, drawn.clamp(min=0), _size(weight))
        return
    for number, layer in enumerate(run.recorded_rows[0]):
        yield HeadMaps(number, slice(None), _of_rows(layer, feature), _size(layer.block.output_weight))


def _of_rows(layer: LayerTrace, feature: Feature) -> Tensor:
    if layer.channelwise:
        raise UnsupportedModel(
            f"Layer {layer.index} mixes channel by channel and has no heads, so {feature} has no map of each. No "
            "number was produced. Use the feature evidence."
        )
    return weights_of(layer) if feature == "attention" else layer.attention_parts.lengths_per_head()


def _size(weight: Tensor) -> float:
    return float(torch.linalg.vector_norm(weight.double()))


def sizes_of(maps: list[HeadMaps]) -> tuple[list[int], list[float]]:
    """How many heads each block has, and the lengths of their output projections, from the first block to the last."""
    ordered = sorted(maps, key=lambda one: one.number)
    return [len(one.values) for one in ordered], [one.size for one in ordered]
