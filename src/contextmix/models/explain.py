"""From inputs to results: every mixing map in one run per batch, methods of the whole model one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from contextmix.errors import BadOption
from contextmix.models.batch import Wanted
from contextmix.models.loaded_model import LoadedModel
from contextmix.plugins.plan import Plan
from contextmix.results.provenance import Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tracing.inputs.encode import Inputs, batches


def explained(
    model: LoadedModel,
    inputs: Sequence[Inputs],
    plans: Sequence[Plan],
    query: int | str | None,
    layers: Any,
    batch_size: int = 1,
    wanted: Wanted | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[list[TokenMap]]:
    """For each sequence one result per plan; the model runs once per batch, whatever the number of plans.

    Args:
        model: The model.
        inputs: The sequences.
        plans: Mixing maps, with or without an aggregation.
        query: The token whose row is kept; None for all.
        layers: Blocks to show; see `TracedModel.explain`.
        batch_size: Sequences of equal length that run together.
        wanted: Whether a plan needs a layer; None for all.
        tell: Called before layers are aggregated, which may take long; what it raises ends the work.
    """
    refuse_query(inputs, query)
    results: list[list[TokenMap]] = [[] for _ in inputs]
    for positions, tensors in batches(inputs, model.together(batch_size)):
        found = model.measure_batch(tensors, plans, wanted)
        for which, plan in enumerate(plans):
            if tell is not None and plan.aggregation is not None:
                tell(f"{plan.name}, all layers")
            maps = found.maps(which)
            for row, position in enumerate(positions):
                tokens = model.labels(inputs[position], maps.shape[-1])
                notes: dict[str, Any] = {**inputs[position].notes, **found.notes(which, row)}
                if found.checks.added:
                    notes["images_added_before_layers"] = list(found.checks.added)
                if found.checks.borrowed:
                    notes["values_of_earlier_layers_in"] = list(found.checks.borrowed)
                if prediction := model.prediction(found.outputs, row, tokens):
                    notes["prediction"] = prediction
                made = model.origin.provenance(found.checks, **plan.describe()).noting(**notes)
                result = plan.result(maps[:, row], tokens, made, query, layers)
                results[position].append(
                    cautious(result) if plan.aggregation is not None and model.is_causal else result
                )
    return results


FEW = 8
"""In a text of fewer tokens the first two are a good part of it."""


def cautious(found: TokenMap) -> TokenMap:
    """A note if layers combined have moved most of a row to the first two positions; see `Provenance.caution`.

    Of several rows the last one is looked at, of several layers the last.

    Args:
        found: Dims that end in key, or in (query, key).
    """
    row = np.abs(found.values.reshape(-1, found.shape[-1])[-1])
    if found.quantity is Quantity.SIGNED or len(row) < FEW or not row.sum():
        return found
    share = float(row[:2].sum() / row.sum())
    return found.derive(provenance=found.provenance.noting(first_two=round(share, 4))) if share > 0.5 else found


def refuse_query(inputs: Sequence[Inputs], query: int | str | None) -> None:
    """A query that is not there, before the work; tokens of images and sounds are known only after it.

    Raises:
        UnknownToken: If there is no such token.
        AmbiguousToken: If there are several.
    """
    for one in inputs:
        if query is not None and one.tokens is not None:
            one.tokens.position(query)


def refuse_axes(plan: Plan, **given: Any) -> None:
    """An axis to choose from, where a method of the whole model has none.

    Raises:
        BadOption: If one is given.
    """
    for axis, value in given.items():
        if value is not None:
            raise BadOption(
                f"{plan.name} explains one score of the whole model and has no {axis} to choose; got {axis}={value!r}."
            )


def refuse_scores(plan: Plan, **given: Any) -> None:
    """A score to explain, where a mixing map explains none.

    Raises:
        BadOption: If one is given.
    """
    for option, value in given.items():
        if value is not None:
            raise BadOption(
                f"{plan.name} explains what a token's representation is made of, not a score, so {option}={value!r} "
                "means nothing to it. Leave it out, or use a method such as gradient_inputs or decompx."
            )
