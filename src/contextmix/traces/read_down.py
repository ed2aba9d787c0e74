"""From what is said at some rows down through the blocks: which direction in each block's stream speaks for it.

Going down, a direction passes each norm as its transpose, the denominator held at its true value. At each block it
reads what attention drew from every position, and what norms, biases and feed-forward parts added beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from contextmix.errors import UnsupportedModel
from contextmix.maths.evidence import against_others, through_norm
from contextmix.maths.shapes import by_shapes
from contextmix.traces.block import SublayerNorms
from contextmix.traces.meaning import Meaning
from contextmix.traces.span_run import ReadRows, SpanRun


@dataclass(frozen=True)
class Passed:
    """A block that directions have passed.

    Attributes:
        number: Which one, from 0.
        layer: What was read there.
        drawing: (row, d_model): the direction in what the output projection gives, before its bias.
        beside: Along the direction, what is no position's, each (row,): norms, biases, the feed-forward part.
        below: (row, d_model): the direction in what entered the block.
    """

    __repr__ = by_shapes

    number: int
    layer: ReadRows
    drawing: Tensor
    beside: tuple[Tensor, ...]
    below: Tensor


def passed_down(layers: Sequence[ReadRows], direction: Tensor) -> Iterator[Passed]:
    """All blocks, or all steps of blocks with two attentions, from the last to the first.

    Args:
        layers: From the first to the last.
        direction: (row, d_model): in what the last block gives.
    """
    for number, layer in reversed(list(enumerate(layers))):
        norms, ffn, states = layer.block.attention, layer.block.ffn, layer.states
        direction, first = through_norm(direction, ffn.norm_after, states.ffn_sum)
        second = _of_rows(direction, ffn.contribution(states.ffn_out), states.ffn_added)
        direction, around_ffn = _around(direction, ffn, states.residual_mid)
        direction, third = through_norm(direction, norms.norm_after, states.attention_sum)
        drawing, fourth = through_norm(direction * norms.scale, norms.norm_out, states.attention_out)
        bias = layer.block.output_bias
        fifth = drawing.new_zeros(len(drawing)) if bias is None else (drawing * bias.to(drawing.dtype)).sum(-1)
        sixth = _of_rows(direction, norms.shift, states.attention_added)
        direction, around = _around(direction, norms, states.residual_in)
        added = (
            [] if layer.added is None else [(direction * layer.added).sum(-1)]
        )  # features of an image, at its places
        beside = (first, second, around_ffn, third, fourth, fifth, sixth, around, *added)
        yield Passed(number, layer, drawing, beside, direction)


def _of_rows(direction: Tensor, *added: Tensor | None) -> Tensor:
    """What was added to each row and is no position's, along a direction, (row,)."""
    return sum(((direction * one).sum(-1) for one in added if one is not None), direction.new_zeros(len(direction)))


def _around(direction: Tensor, norms: SublayerNorms, entered: Tensor) -> tuple[Tensor, Tensor]:
    """A direction behind the residual of a sub-layer as one in front of it, and what a norm's bias adds there."""
    return through_norm(direction * norms.keep, norms.norm_in if norms.normed else None, entered)


def directions_of(run: SpanRun, last: Tensor, scores: Tensor, score: str, allowed: float, name: str) -> Tensor:
    """What a change of the last block's output at each row does to the explained score, (row, d_model).

    Args:
        run: What is explained.
        last: (row, d_model): the last block's output.
        scores: (row, class).
        score: ``"log_odds"`` or ``"logit"``.
        allowed: The relative error that the head's own equation may have.
        name: Of the method that asks.

    Raises:
        UnsupportedModel: If there is no head of a known form.
    """
    head = run.proved_readout(last, scores, allowed)
    if head is None:
        raise UnsupportedModel(f"{name} {NO_HEAD}")
    return head.direction(last, counted_in(run, scores, score).to(last.dtype))


def counted_in(run: SpanRun, scores: Tensor, score: str) -> Tensor:
    """What each score counts in the explained one, (row, class)."""
    chosen = torch.tensor([one.number for one in run.targets], device=scores.device)
    foils = [one.foil for one in run.targets if one.foil is not None]
    if not foils and run.meaning is Meaning.ONE_OF and score == "log_odds":
        return against_others(scores, chosen)
    own = torch.zeros_like(scores).scatter_(-1, chosen.unsqueeze(-1), 1.0)
    if foils:
        return own.scatter_(-1, torch.tensor(foils, device=scores.device).unsqueeze(-1), -1.0)
    return own - 1 / scores.shape[-1] if run.meaning is Meaning.ONE_OF else own  # of one label, its logit


NO_HEAD = (
    "found no head of the form norm, linear, activation, norm, linear (or a part of it that ends in a linear map) at "
    "one position behind the last block, so no direction stands for the score. No number was produced. Use another "
    "method, such as gradient_inputs."
)
