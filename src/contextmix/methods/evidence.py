"""Evidence: what each token adds, through attention, to the log-odds of what the model says. One forward pass.

The row at which something is said draws on each position in each layer. What it draws is a vector, and the model's head
says how much that vector speaks for the token (or class) that was said. No map of all pairs is needed, and no treatment
of attention sinks: what a sink sends speaks for nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.maths.evidence import spoken_for
from contextmix.plugins.contracts import Measured, ModelMethod, QuantityBy
from contextmix.plugins.papers import FERRANDO_2023
from contextmix.results.provenance import Quantity
from contextmix.traces.flow_down import carried_down, drawn_by_rows
from contextmix.traces.model_run import ModelRun
from contextmix.traces.read_down import NO_HEAD, directions_of, passed_down
from contextmix.traces.span_run import ReadRows, SpanRun


def attribute(
    run: ModelRun,
    *,
    score: Literal["log_odds", "logit"] = "log_odds",
    signed: bool = False,
    reach: Literal["direct", "answer", "all"] = "direct",
) -> Measured:
    """Evidence for the explained token or class, at the row that is read.

    Args:
        run: The model and one input.
        score: For what: the ``"log_odds"`` of the token or class against all others together, or its ``"logit"`` above
            the mean of all logits. With a target and a foil it is the difference of their logits.
        signed: The sum of what each token adds, with its sign; left out, the positive parts alone. What speaks against
            a token is mostly made up for by the rest of the model, so positive parts predict better what happens when
            a token is taken away.
        reach: ``"direct"``: what the row that is read draws from each position. A token that only passes on what an
            earlier one said is then credited for it. ``"answer"``: what all rows of the answer up to this one draw
            from the positions before them, on all paths among these rows and through their feed-forward parts,
            attention weights, denominators of norms and ratios of activations held fixed. The answer so far is then
            traced to what made it. One forward pass, and for each explained token one back over the rows of the answer
            alone. ``"all"``: what leaves each position on all paths, held fixed alike: an earlier token of the prompt
            is credited too. One forward pass that keeps all maps (memory grows with n²), and one pass back over all
            rows for each explained token.

    Returns:
        (key,), in units of the score (log-odds and logits: nats): ≥ 0, or signed. Not normalised. Notes: ``linear``,
        the score in the linear form ⟨u, x⟩ of the last block's output; and but for ``reach="all"`` what adds up to
        it: ``signed``, the sum over all tokens with signs, and ``elsewhere``, what the embedding of the row itself,
        feed-forward parts and biases add.

    Raises:
        UnsupportedModel: If the head is not norm, linear, activation, norm, linear (or a part of it that ends in a
            linear map) at one position behind the last block.
        TraceDoesNotAddUp: If the parts miss what the model computed.

    Source:
        Ours, made of known parts. For each layer the terms are those of the logit's decomposition in Ferrando et al.
        (2023), eqs. 8–10, without their redistribution by ALTI's rollout, which loses the source on decoders. Log-odds
        in place of the logit, heads summed before the positive part is taken, and norms on the output of attention
        are ours. On facts among distractors and on answers of Gemma 3 270M this names the source about as well as one
        ablation per sentence (benchmarks/answers.py).
    """
    span = run.span()
    if span is None:
        raise UnsupportedModel(f"evidence {NO_HEAD}")
    found = steps(span, score=score, signed=signed, reach=reach)
    notes = {name: note[0] for name, note in found.notes.items()}
    return Measured(found.values[0], notes, found.checks)


def steps(
    run: SpanRun,
    *,
    score: Literal["log_odds", "logit"] = "log_odds",
    signed: bool = False,
    reach: Literal["direct", "answer", "all"] = "direct",
) -> Measured:
    """The same at several rows in one forward pass: (row, key); asked with and without signs, the work is done once."""
    read = {"direct": _direct, "answer": _answer, "all": _all}[reach]
    positive, total, notes, checks = run.once((__name__, score, reach), lambda: read(run, score))
    return Measured(total if signed else positive, notes, checks)


_Read = tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]
"""The positive parts and all parts, each (row, key); notes and checks."""


def _direct(run: SpanRun, score: str) -> _Read:
    layers, scores = run.recorded
    last = layers[-1].residual_out
    direction = directions_of(run, last, scores, score, layers[-1].tolerance, "evidence")
    positive, total, elsewhere, size = read_down(layers, direction)
    linear = (direction * last).sum(-1)
    gap = (total.sum(-1) + elsewhere - linear).abs() / size
    _refuse_gap(float(gap.max()), layers[-1].tolerance)
    notes = {"signed": total.sum(-1), "elsewhere": elsewhere, "linear": linear}
    return positive, total, notes, {"completeness": gap.max()}


def _answer(run: SpanRun, score: str) -> _Read:
    layers, scores = run.recorded_rows
    last, allowed = layers[-1].residual_out, layers[-1].tolerance
    directions = directions_of(run, last, scores, score, allowed, "evidence")
    linear, count = (directions * last).sum(-1), len(last)
    starts = torch.split(torch.arange(count, device=last.device), max(1, _ROWS_AT_ONCE // count))
    parts = [drawn_by_rows(layers, run.rows, _one_each(directions, chosen)) for chosen in starts]
    values, biases, size = (torch.cat(part) for part in zip(*parts, strict=True))
    itself = values[:, run.rows].diagonal().clone()  # a row's own embedding is no other token's doing
    values[:, run.rows].fill_diagonal_(0)
    elsewhere = biases + itself
    gap = ((values.sum(-1) + elsewhere - linear).abs() / size).max()
    _refuse_gap(float(gap), allowed)
    notes = {"signed": values.sum(-1), "elsewhere": elsewhere, "linear": linear}
    return values.clamp(min=0), values, notes, {"completeness": gap}


def _one_each(directions: Tensor, chosen: Tensor) -> Tensor:
    """(score, row, d_model): of each score the direction of its own row, zero in all others."""
    found = directions.new_zeros(len(chosen), *directions.shape)
    found[torch.arange(len(chosen)), chosen] = directions[chosen]
    return found


def _all(run: SpanRun, score: str) -> _Read:
    layers, scores = run.recorded_all
    last, allowed = layers[-1].residual_out, layers[-1].tolerance
    read = last[run.rows]
    directions = directions_of(run, read, scores, score, allowed, "evidence")
    found, gaps, linears = [], [], (directions * read).sum(-1)
    for row, direction, linear in zip(range(len(last))[run.rows], directions, linears, strict=True):
        start = torch.zeros_like(last)
        start[row] = direction
        positive, total, rebuilt, size = carried_down(layers, start, _leaving(run, row, len(last)))
        found.append((positive, total))
        gaps.append((rebuilt - linear).abs() / size)
    gap = torch.stack(gaps).max()
    _refuse_gap(float(gap), allowed)
    positives, totals = (torch.stack(parts) for parts in zip(*found, strict=True))
    return positives, totals, {"linear": linears}, {"completeness": gap}


def _leaving(run: SpanRun, row: int, count: int) -> Tensor:
    """Which messages leave the unit of the position that sends them, (row, key); the row that is read takes all."""
    units = torch.arange(count) if run.units is None else torch.tensor(run.units)
    leaves = units[:, None] != units[None, :]
    leaves[row] = True
    return leaves


def read_down(layers: list[ReadRows], direction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Everything that was added to the rows, along a direction in the last block's output.

    Args:
        layers: All blocks, or all steps of blocks with two attentions, from the first to the last.
        direction: (row, d_model).

    Returns:
        Per position the sum over layers of the positive parts and of all parts, (row, key); what is no position's,
        (row,); and the sum of the sizes of all of these, (row,).
    """
    shape = layers[0].attention.shape[1], max(layer.columns.stop for layer in layers)
    positive, total = direction.new_zeros(shape), direction.new_zeros(shape)
    elsewhere, size = direction.new_zeros(shape[0]), direction.new_zeros(shape[0])
    below = direction
    for one in passed_down(layers, direction):
        layer, below = one.layer, one.below
        found = spoken_for(layer.attention, layer.value, layer.block.output_weight, one.drawing, layer.gate)
        positive[:, layer.columns] += found.clamp(min=0)
        total[:, layer.columns] += found
        for part in one.beside:
            elsewhere += part
            size += part.abs()
        size += found.abs().sum(-1)
    entered = (below * layers[0].states.residual_in).sum(-1)
    return positive, total, elsewhere + entered, size + entered.abs()


def _refuse_gap(gap: float, allowed: float) -> None:
    if not gap <= allowed:
        raise TraceDoesNotAddUp(
            f"The evidence of all tokens and what is elsewhere miss the score by {gap:.1e} (relative to the sum of "
            f"their sizes; allowed {allowed:.0e}), so they are not parts of it. Something acts between the blocks."
        )


_ROWS_AT_ONCE = 1024
"""Rows of all scores together that are carried down at once: so many numbers of a feed-forward part fit anywhere."""

METHOD = ModelMethod(
    name="evidence",
    title="Evidence",
    attribute=attribute,
    steps=steps,
    quantity=QuantityBy("signed", {True: Quantity.SIGNED}, otherwise=Quantity.EVIDENCE),
    formula="e_j = Σ_l max(0, ⟨u, Σ_h α^h_tj W^h v^h_j⟩), u = ∂ log-odds / ∂x_t",
    paper=FERRANDO_2023,
    cost="about one forward pass",
    needs="a classification head or a vocabulary's",
)
