"""One row of a long input, in any mixing map or in all layers combined: no map is held, memory grows with the length.

The model runs once with the attention that it has set. Then rows of its maps are made a block at a time, from the top
layer down (`contextmix.models.descent`). Whole maps are measured of short inputs, where that is as fast, and wherever
rows cannot be made by themselves. Both ways give the same numbers up to rounding; that is shown twice before a number
is handed out:

- once per model and method, by both ways on the first tokens of the input;
- on every input, by one row of a layer in the middle, made from scratch: weights over all keys and in float64, Gram
  matrices of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from contextmix.errors import BadOption, TraceDoesNotAddUp, UnsupportedModel
from contextmix.maths.differences import largest_error
from contextmix.models.attribution import until
from contextmix.models.descent import Descent, descent, goes_down
from contextmix.models.loaded_model import LoadedModel, own_probe
from contextmix.options.values import MEMORY_BUDGET
from contextmix.plugins.plan import Plan, layer_numbers
from contextmix.traces.checks import Checks
from contextmix.tracing.inputs.encode import Inputs, stacked
from contextmix.tracing.recording.quiet import first_states, has_images, on_device
from contextmix.tracing.recording.record import record_tiles
from contextmix.tracing.recording.row_attention import FUSED
from contextmix.tracing.recording.tap import EAGER, own_name
from contextmix.tracing.recording.tile_recorder import KeptBlock, obstacle
from contextmix.tracing.recording.verify import prove, tolerance

LONG = 1024
"""Tokens from which on rows are made in blocks."""
SHORT = 96
"""Tokens on which both ways are compared."""
BLOCK = 1 << 20
"""Weights of all heads that are made at a time, where that is a block of `FEWEST` rows or more."""
FEWEST, MOST = 64, 256
COPIES = 8
"""So many tensors of the size of a block of weights exist at a time: keys of every head, scores, weights, products."""


@dataclass(frozen=True)
class Found:
    """What blocks of rows gave.

    Attributes:
        descents: One per plan, at the end of its way.
        outputs: Of the model.
        checks: How well the rows proved themselves.
        depth: How many layers there are.
        heads: The most heads of a layer.
        most: Rows that were made at a time.
        sampled: Relative error of the row that was made from scratch.
    """

    descents: Sequence[Descent]
    outputs: Any
    checks: Checks
    depth: int
    heads: int
    most: int
    sampled: float


def long_rows(
    model: LoadedModel,
    one: Inputs,
    plans: Sequence[Plan],
    query: int | str | None,
    layers: Any,
    memory_budget: int = MEMORY_BUDGET,
) -> Found | str | None:
    """The row of a long input for several plans; None where whole maps have to be measured.

    Where a comparison decided that, why it did.

    Args:
        model: The model.
        one: The input.
        plans: Mixing maps, with or without an aggregation.
        query: The token whose row is asked for.
        layers: See `TracedModel.explain`.
        memory_budget: Bytes for one block of rows.

    Raises:
        BadOption: If the budget is too small for one row.
        TraceDoesNotAddUp: If the rows do not prove themselves.
    """
    if one.tokens is None or one.length < LONG or not _can_ask(one, plans, query):
        return None
    with model.turn:
        model.follow()  # what was proved of another model counts no more
        if not _can_go_down(model):
            return None
    heads = _proved(model, one, plans)
    if isinstance(heads, str):
        return heads
    assert query is not None  # or whole maps are asked for
    most = rows_within(memory_budget, heads, one.length)
    return gone_down(model, one, plans, one.tokens.position(query), layers, most)


def _can_ask(one: Inputs, plans: Sequence[Plan], query: int | str | None) -> bool:
    """Whether this is asked of a text, of methods whose rows stand by themselves."""
    asked = query is not None and bool(plans) and all(map(goes_down, plans))
    return asked and "input_ids" in one.tensors and not has_images(one.tensors)


def _can_go_down(model: LoadedModel) -> bool:
    """Whether rows of the model's maps can be made by themselves, as far as can be said without a run."""
    attention = own_name(model.model.config._attn_implementation)
    return attention in (EAGER, FUSED, None) and not any(map(obstacle, model.anatomy().blocks))


def rows_within(budget: int, heads: int, length: int) -> int:
    """How many rows of all heads are made at a time.

    Raises:
        BadOption: If the budget is too small for one.

    Example:
        >>> rows_within(2**30, 8, 2048), rows_within(2**30, 8, 16384)
        (64, 64)
        >>> rows_within(2**20, 8, 2048)
        2
    """
    row = 4 * COPIES * heads * length
    if row > budget:
        raise BadOption(
            f"memory_budget={budget} bytes are too few for one row of {heads} heads over {length} tokens, which takes "
            f"about {row}. Give that much, or a text of {budget // (4 * COPIES * heads)} tokens at most."
        )
    return min(MOST, max(FEWEST, BLOCK // (heads * length)), budget // row)


def gone_down(
    model: LoadedModel, one: Inputs, plans: Sequence[Plan], query: int, layers: Any, most: int | None
) -> Found:
    """Run the model once, and go down with so many rows at a time; None for as many as usual.

    Raises:
        UnsupportedModel: If rows cannot be made by themselves.
        TraceDoesNotAddUp: If they do not prove themselves.
    """
    tensors = stacked([one])
    with model.running(own_probe(tensors), one.tensors) as anatomy:
        own = on_device(model.model, tensors)
        outputs, blocks, checks = record_tiles(model.model, anatomy, own, last_logits=1)
        depth, heads, sampled = len(blocks), max(block.n_heads for block in blocks), 0.0
        most = rows_within(MEMORY_BUDGET, heads, one.length) if most is None else most
        shown = [layer_numbers(layers, depth, everything=plan.aggregation is None) for plan in plans]
        like = blocks[0].said["entered"][0]
        ways = [descent(plan, query, each, like) for plan, each in zip(plans, shown, strict=True)]
        with torch.no_grad():
            while blocks:
                through = _through(blocks.pop(), ways, most)
                checks, sampled = checks.merged(through[0]), max(sampled, through[1])
    return Found(ways, outputs, checks, depth, heads, most, sampled)


def _through(block: KeptBlock, ways: Sequence[Descent], most: int) -> tuple[Checks, float]:
    """One layer; and how well its rows proved themselves, with the error of those that were made from scratch."""
    checks, sampled = Checks(), 0.0
    wanted = [way.wants(block.number) for way in ways]
    for start, stop in dict.fromkeys((one.start, one.stop) for one in wanted):
        asking = [way for way, one in zip(ways, wanted, strict=True) if (one.start, one.stop) == (start, stop)]
        for low in range(start, stop, most):
            rows = slice(low, min(low + most, stop))
            layer, keys = block.rows(rows)
            checks = checks.merged(replace(prove(layer, block.ran_in), layers=0))
            for way in asking:
                found = way.plan.measure(layer)
                way.add(block.number, found, rows, keys)
                probe = way.sampled(block.number, slice(start, stop))
                if probe is not None and rows.start <= probe < rows.stop:
                    row = found.values[..., probe - rows.start, :]
                    sampled = max(sampled, _sampled(block, way, probe, row, keys))
    return checks, sampled


def _sampled(block: KeptBlock, way: Descent, probe: int, found: Tensor, keys: slice) -> float:
    """How far a row is from the one that is made from scratch."""
    layer, everything = block.rows(slice(probe, probe + 1), alone=True)
    true = way.plan.measure(layer).values[..., 0, :]
    row = torch.zeros_like(true)
    row[..., keys] = found
    error, allowed = float(largest_error(row, true)), tolerance(block.ran_in)
    if not error <= allowed:
        raise TraceDoesNotAddUp(
            f"Layer {block.number}: row {probe} of {way.plan.name}, made in a block of rows, differs by {error:.1e} "
            f"(relative; allowed {allowed:.0e}) from the same row made by itself over all {everything.stop} tokens. No "
            "number was produced. Please report this, with the model."
        )
    return error


def _proved(model: LoadedModel, one: Inputs, plans: Sequence[Plan]) -> int | str:
    """The heads of the model, if both ways agree for these plans on the first tokens; looked at once per model."""
    heads: int | str = 0
    for plan in plans:
        key = str(plan.describe())
        if key not in model.proof.in_blocks:
            model.proof.in_blocks[key] = _agreeing(model, until(one, SHORT), plan)
        heads = model.proof.in_blocks[key]
        if isinstance(heads, str):
            return heads
    return heads


def _agreeing(model: LoadedModel, short: Inputs, plan: Plan) -> int | str:
    """The heads of the model, if both ways give the same last row of every layer; otherwise why rows cannot be used."""
    layers, query = "all", short.length - 1
    whole = model.measure_batch(stacked([short]), [plan])
    true = plan.combine(whole.maps(0)[:, 0]).values[..., query, :]
    try:
        found = gone_down(model, short, [plan], query, layers, FEWEST // 2)
    except (UnsupportedModel, TraceDoesNotAddUp) as refused:
        return f"{plan.name}: {refused}"
    outputs, plain = first_states(found.outputs), first_states(whole.outputs)
    if outputs is None or plain is None:
        return f"{plan.name}: the model gives nothing by which both ways could be compared."
    allowed = tolerance(plain.dtype)
    errors = [largest_error(outputs, plain), *map(largest_error, found.descents[0].found(found.depth), true)]
    wrong = [error for error in map(float, errors) if not error <= allowed]
    return (
        found.heads
        if not wrong
        else (
            f"{plan.name}: rows in blocks differ by {wrong[0]:.1e} (relative; allowed {allowed:.0e}) from those of "
            f"whole maps on the first {short.length} tokens."
        )
    )
