"""From inputs to results: every mixing map in one run per batch, methods of the whole model one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from contextmix.errors import BadOption
from contextmix.models.batch import BatchMaps, Wanted
from contextmix.models.loaded_model import LoadedModel
from contextmix.models.long_rows import Found, long_rows
from contextmix.options.values import MEMORY_BUDGET
from contextmix.plugins.plan import Plan, layer_notes
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
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
    memory_budget: int = MEMORY_BUDGET,
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
        memory_budget: Bytes for one block of rows of a long input; see `contextmix.models.long_rows`.
    """
    refuse_query(inputs, query)
    results: list[list[TokenMap]] = [[] for _ in inputs]
    for positions, tensors in batches(inputs, model.together(batch_size)):
        one = inputs[positions[0]]
        long = long_rows(model, one, plans, query, layers, memory_budget) if len(positions) == 1 else None
        if isinstance(long, Found):
            results[positions[0]] = [_row(model, one, long, which, layers) for which in range(len(plans))]
            continue
        asked = _of_rows(plans, [inputs[position] for position in positions], query)
        found = model.measure_batch(tensors, asked, wanted)
        for which, plan in enumerate(asked):
            if tell is not None and plan.aggregation is not None:
                tell(f"{plan.name}, all layers")
            maps = found.maps(which)
            for row, position in enumerate(positions):
                tokens = model.labels(inputs[position], maps.shape[-1])
                notes = {**found.notes(which, row), **({"not_in_blocks": long} if long else {})}
                made = _made(model, inputs[position], plan, found, notes, row, tokens)
                result = plan.result(maps[:, row], tokens, made, query, layers)
                results[position].append(_cautious(model, plan, result))
    return results


def _of_rows(plans: Sequence[Plan], inputs: Sequence[Inputs], query: int | str | None) -> Sequence[Plan]:
    """The plans that measure one row of each of these inputs, where they can: tokens are known and a query is asked."""
    tokens = [one.tokens for one in inputs if one.tokens is not None and "input_ids" in one.tensors]
    if query is None or len(tokens) < len(inputs):
        return plans
    return [plan.of_rows([each.position(query) for each in tokens]) for plan in plans]


def _row(model: LoadedModel, one: Inputs, long: Found, which: int, layers: Any) -> TokenMap:
    """One row, made in blocks of rows."""
    way = long.descents[which]
    tokens = model.labels(one, one.length)
    blocks = {"rows": long.most, "sampled_row": long.sampled}
    made = _made(model, one, way.plan, long, {**layer_notes(way.notes), "in_blocks": blocks}, 0, tokens)
    result = way.plan.row(way.found(long.depth), tokens, made, way.query, layers, long.depth)
    return _cautious(model, way.plan, result)


def _made(
    model: LoadedModel,
    one: Inputs,
    plan: Plan,
    run: BatchMaps | Found,
    notes: Mapping[str, Any],
    row: int,
    tokens: Tokens,
) -> Provenance:
    """How a result was made, with what the run says beside it."""
    said: dict[str, Any] = {**one.notes, **notes}
    if run.checks.added:
        said["images_added_before_layers"] = list(run.checks.added)
    if run.checks.borrowed:
        said["values_of_earlier_layers_in"] = list(run.checks.borrowed)
    if prediction := model.prediction(run.outputs, row, tokens):
        said["prediction"] = prediction
    return model.origin.provenance(run.checks, **plan.describe()).noting(**said)


def _cautious(model: LoadedModel, plan: Plan, found: TokenMap) -> TokenMap:
    return cautious(found) if plan.aggregation is not None and model.is_causal else found


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
                f"has no effect here. Leave it out, or use a method such as gradient_inputs or decompx."
            )
