"""Directions carried down through recorded blocks, and the messages between positions that they pass on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from contextmix.errors import UnsupportedModel
from contextmix.maths.evidence_flow import Down, before_feed_forward, messages
from contextmix.maths.norms import normalise
from contextmix.traces.splitting import feed_forward, obstacle, value_map
from contextmix.traces.trace import LayerTrace


def carried_down(layers: Sequence[LayerTrace], direction: Tensor, counted: Tensor) -> tuple[Tensor, ...]:
    """All messages that reach a score, whichever rows pass them on.

    Args:
        layers: One sequence, from the first block to the last.
        direction: What a change of each row of the last block's output does to the score, (row, d_model).
        counted: Which messages count, (row, key) of True and False: those that leave their unit.

    Returns:
        Per position the sum of the positive counted messages and of all counted ones, (key,); and what the embeddings
        (with features that were added between blocks) and all biases add up to, which is the score in its linear form,
        with the sum of their sizes.

    Raises:
        UnsupportedModel: If a block cannot be carried through: experts, values that are no linear map.
    """
    down = Down(direction, direction.new_zeros(len(direction)))
    positive, total = direction.new_zeros(counted.shape[1]), direction.new_zeros(counted.shape[1])
    entered, size = direction.new_zeros(()), direction.new_zeros(())
    for layer in reversed(layers):
        _refuse(layer)
        down, sent = _block(layer, down)
        sent = sent * counted
        positive += sent.clamp(min=0).sum(0)
        total += sent.sum(0)
        brought = layer.residual_in if layer is layers[0] else layer.added
        if brought is not None:
            own = (down.direction * brought).sum(-1)
            entered, size = entered + own.sum(), size + own.abs().sum()
    return positive, total, entered + down.shift.sum(), size + down.shift.abs().sum()


def drawn_by_rows(layers: Sequence[LayerTrace], rows: slice, direction: Tensor) -> tuple[Tensor, ...]:
    """What some rows draw from all positions outside of them, whichever of these rows passes it on.

    Args:
        layers: The traces of these rows alone, with the values of all positions, from the first block to the last.
        rows: Which positions they are.
        direction: What a change of each row of the last block's output does to each of several scores,
            (score, row, d_model).

    Returns:
        For each score, per position the sum of its messages to all rows in all blocks, (score, key), and at the rows
        themselves what their embeddings add; the sum of all biases, (score,); and the sum of the sizes of all of these.
        Positions and biases add up to the score in its linear form.

    Raises:
        UnsupportedModel: As for `carried_down`.
    """
    down = Down(direction, direction.new_zeros(direction.shape[:-1]))
    total = direction.new_zeros(len(direction), layers[0].attention.shape[-1])
    size = direction.new_zeros(len(direction))
    for layer in reversed(layers):
        _refuse(layer)
        down, sent = _block(layer, down, rows)
        sent[..., rows] = 0  # goes on down
        total += sent.sum(-2)
        size += sent.abs().sum((-2, -1))
        brought = layer.residual_in if layer is layers[0] else layer.added
        if brought is not None:
            own = (down.direction * brought).sum(-1)
            total[:, rows] += own
            size += own.abs().sum(-1)
    return total, down.shift.sum(-1), size + down.shift.abs().sum(-1)


def _block(layer: LayerTrace, down: Down, own: slice = slice(None)) -> tuple[Down, Tensor]:
    """In front of a block; and what each position sends each row along its direction, (..., row, key).

    Args:
        layer: The block, of all rows or some.
        down: Behind it, of these rows.
        own: Which keys are these rows.
    """
    block, states = layer.block, layer.states
    behind = down.through(block.ffn.norm_after, states.ffn_sum)
    read_by_ffn = _before_ffn(layer, _alone(behind))
    # Of parallel parts, attention's output does not pass the feed-forward part.
    added = behind if block.parallel else behind.plus(read_by_ffn)
    before = added.through(block.attention.norm_after, states.attention_sum)
    inner = _alone(before).times(block.attention.scale).through(block.attention.norm_out, layer.attention_out)
    if block.output_bias is not None:
        inner = Down(inner.direction, inner.shift + (inner.direction * block.output_bias).sum(-1))
    weights, gate = layer.mixing
    sent, at_values = messages(weights, layer.value, block.output_weight, inner.direction, gate, own)
    value = value_map(layer)
    assert value is not None  # refused before
    at_keys = _alone(Down(at_values, down.shift)).before(value)
    read = at_keys.through(block.attention.norm_in, layer.residual_in)
    found = before.plus(Down(read.direction, read.shift + inner.shift))
    return found.plus(read_by_ffn) if block.parallel else found, sent


def _before_ffn(layer: LayerTrace, down: Down) -> Down:
    """In front of the feed-forward part with its norms."""
    ffn, norms = feed_forward(layer), layer.block.ffn
    assert ffn is not None  # refused before
    entered = layer.residual_in if layer.block.parallel else layer.states.residual_mid
    read = entered if norms.norm_in is None else normalise(entered, norms.norm_in)
    inner = down.times(norms.scale).through(norms.norm_out, layer.ffn_out)
    return before_feed_forward(inner, ffn, read).through(norms.norm_in, entered)


def _alone(down: Down) -> Down:
    """The same directions, for a branch: what biases have added so far stays with the stream."""
    return Down(down.direction, torch.zeros_like(down.shift))


def _refuse(layer: LayerTrace) -> None:
    reason = obstacle(layer)
    if reason:
        raise UnsupportedModel(
            f"Layer {layer.index}: evidence cannot follow paths through this block, as reach='all' and reach='answer' "
            f"do: {reason}. No number was produced. Use reach='direct'."
        )
