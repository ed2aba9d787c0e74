"""Learned: the maps of all heads in one pass, each with a weight that was learned from ablations of one's own texts.

s_j = Σ_l Σ_h θ_lh m^lh_tj. `contextmix fit` learns θ, so that s orders the sources of an answer as taking them away
does. Most heads say nothing about what an answer draws on, and their mean drowns the others.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from contextmix.errors import UnsupportedModel
from contextmix.plugins.contracts import Measured, ModelMethod
from contextmix.plugins.papers import COHEN_WANG_2025
from contextmix.results.learned import Learned
from contextmix.results.provenance import Quantity
from contextmix.traces.head_maps import Feature, HeadMaps, head_maps, sizes_of
from contextmix.traces.model_run import ModelRun
from contextmix.traces.read_down import NO_HEAD
from contextmix.traces.span_run import SpanRun


def attribute(run: ModelRun, *, weights: str = "") -> Measured:
    """The weighted maps of all heads at the row that is read.

    Args:
        run: The model and one input.
        weights: The file that ``contextmix fit`` wrote for this model. Left out, every head counts as much as any other
            and the maps are evidence: what learning starts from, and has to beat; the note ``weights`` says so.

    Returns:
        (key,), ≥ 0: with learned weights what each token adds to the log-odds of the answer as ablations would tell it,
        in nats. Notes: ``weights``, whose they are.

    Raises:
        BadFile: If the file is missing or holds something else.
        BadOption: If the weights were learned on another model.
        UnsupportedModel: If no single row is read, or the model has no such maps.

    Source:
        Cohen-Wang et al. (2025): learned weights of attention heads. Ours: the maps are evidence by default (each
        head's positive part), θ ≥ 0, and a pull to the mean; see `contextmix.maths.learned`.
    """
    span = run.span()
    if span is None:
        raise UnsupportedModel(f"learned {NO_HEAD}")
    found = steps(span, weights=weights)
    return Measured(found.values[0], found.notes)


def steps(run: SpanRun, *, weights: str = "") -> Measured:
    """The same at several rows in one forward pass: (row, key)."""
    learned = Learned.load(weights) if weights else None
    feature: Feature = "evidence" if learned is None else learned.feature  # type: ignore[assignment]
    parts: list[tuple[slice, Tensor]] = []
    seen: list[HeadMaps] = []
    for one in head_maps(run, feature, "learned"):
        weighed = torch.einsum("h,htj->tj", _weights_of(learned, one), one.values)
        start = one.columns.start or 0
        parts.append((slice(start, start + weighed.shape[1]), weighed))
        seen.append(replace(one, values=one.values[:, :0]))  # how many heads there are; the maps are let go
    if learned is not None:
        learned.refuse_other_model(*sizes_of(seen))
    found = parts[0][1].new_zeros(len(parts[0][1]), max(columns.stop for columns, _ in parts))
    for columns, weighed in parts:
        found[:, columns] += weighed
    said = "none learned: all heads alike" if learned is None else dict(learned.record)
    return Measured(found, {"weights": said})


def _weights_of(learned: Learned | None, one: HeadMaps) -> Tensor:
    """θ of the heads of one block; of a model that does not fit, of which nothing will come, zeros."""
    heads = len(one.values)
    if learned is None:
        return one.values.new_ones(heads)
    own = learned.weights[one.number] if one.number < len(learned.weights) else ()
    return one.values.new_tensor(own) if len(own) == heads else one.values.new_zeros(heads)


METHOD = ModelMethod(
    name="learned",
    title="Learned weights",
    attribute=attribute,
    steps=steps,
    quantity=Quantity.EVIDENCE,
    formula="s_j = Σ_l Σ_h θ_lh m^lh_tj, θ from ablations",
    paper=COHEN_WANG_2025,
    cost="about one forward pass, once weights are learned",
    needs="a classification head or a vocabulary's",
)
