"""DecompX: how much of a score did each input token bring, with its sign?

Every vector of the model is kept as a sum of one vector per input token, through all layers and the head. What arrives
at a class score, or at the logit of a next token, is a number per input token, and these numbers add up to the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from contextmix.errors import BadOption, TraceDoesNotAddUp, UnsupportedModel
from contextmix.maths.biases import BiasRule, add_bias_
from contextmix.maths.decompx import Rules, push_
from contextmix.maths.feedforward import GatedFeedForward
from contextmix.maths.lines import LineRule, line
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.split_block import NormAfter
from contextmix.plugins.contracts import Measured, ModelMethod, QuantityBy
from contextmix.plugins.papers import MODARRESSI_2023
from contextmix.results.provenance import Quantity
from contextmix.traces.model_run import Head, ModelRun
from contextmix.traces.parts_down import parts_of_rows
from contextmix.traces.span_run import SpanRun
from contextmix.traces.splitting import feed_forward, obstacle
from contextmix.traces.trace import LayerTrace

# By the precision of the model. Parts are carried in float32 at least: in half precision it is the model that rounds.
_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
_ROUNDED = 1e-6
"""For float64 models whose RMS norms or softmax compute in float32, as most families' do."""


def attribute(
    run: ModelRun,
    *,
    bias: Literal["absdot", "abssim", "norm", "equal", "cls", "none"] = "absdot",
    ffn: Literal["zero_origin", "tangent", "relu", "none"] = "zero_origin",
    gate: Literal["half", "frozen"] = "half",
    head: Literal["zero_origin", "tangent", "none"] = "zero_origin",
) -> Measured:
    """DecompX of all classes, or of one token of a vocabulary.

    Args:
        run: The model and one input.
        bias: How each bias is shared out: by ``"absdot"`` |⟨b, u_k⟩|, ``"abssim"`` |cos(b, u_k)| or ``"norm"`` ‖u_k‖,
            to all ``"equal"``, all to the first token (``"cls"``), or left out (``"none"``: nothing adds up then).
        ffn: The line that replaces the activation of the feed-forward part: through the origin (``"zero_origin"``), the
            ``"tangent"``, that of ``"relu"``, or ``"none"`` to leave the feed-forward part out. With the last two
            nothing adds up.
        gate: Who gets the product a ⊙ u of a gated feed-forward part (SwiGLU, GEGLU), a the activated gate: ``"half"``
            to the parts of u and half to the parts of a, or all to the parts of u, the gate ``"frozen"``.
        head: The same as ``ffn`` for the activation of the head; ``"none"`` leaves the head out: lengths of the parts
            of the vector that it would read.

    Returns:
        (class, key), or (key,) for a token or a contrast of two tokens: signed, in units of the score; Σ_k is the
        score. Without head (key,): norms, ≥ 0. Notes: ``completeness``, how far the parts are from what the model
        computed, relative to the sum of their sizes.

    Raises:
        UnsupportedModel: If there is no head of the usual kind, or a block has values that are no linear map of its
            input, or a feed-forward part that is neither two matrices nor gated.
        BadOption: If the memory budget is too small, or an activation has no line through the origin.
        TraceDoesNotAddUp: If the parts miss what the model computed although nothing was left out.

    Source:
        DecompX, section 3, as the authors' code has it (its ``aggregation="vector"``, not its unusable fast mode) for
        post-norm blocks. Bias rule: `maths.biases.bias_shares`. In the first layer the value bias stays inside the
        values; later it is part of the attention's bias, which is shared out after the residual was added (the paper:
        before). The classifier's bias is shared out by dot products over classes. With ``bias="none"`` a tangent's
        intercept is left out too. The cost is ours: heads are never kept apart, the first layer starts from one source
        per row, and of the last layer only the row that the head reads is made.

        Other layouts are ours, by the same rules: every norm, also the final one, acts with the true denominator of its
        row, and its bias is shared out with that of the matrix behind it. The product of a gate is split half and half
        (its Shapley value): with a frozen gate, a token that opens or shuts the gate would get nothing for it. On 56
        next tokens of stories that the built-in decoder tells, the ranks of ``"half"`` agree a little better with the
        fall of the logit when each token is deleted (Spearman 0.42 against 0.39), and the probability falls as far for
        both (by 0.55) when the first 1, 2, 3 and 5 are. The bias of a vocabulary's head is shared out by the explained
        score alone, and a soft cap of logits is a line through the origin.
    """
    layers, found, rules = list(run.layers()), run.head(), Rules(bias, ffn, gate)
    _refuse(layers, rules)
    if head != "none":
        _refuse_head(found, head, run.scores)
    states = layers[-1].residual_out
    query = _query(run, found, states)
    rows = parts_of_rows(layers, slice(query, query + 1), rules, run.memory_budget)
    true = run.scores if run.position is None else run.target.of(run.scores)[None]
    allowed = _allowed(layers, run.scores.dtype)
    one = _measured(rows, states[query : query + 1], None if head == "none" else found, true, (rules, head, allowed))
    return one if head == "none" or run.position is None else replace(one, values=one.values[0])


def steps(
    run: SpanRun,
    *,
    bias: Literal["absdot", "abssim", "norm", "equal", "cls", "none"] = "absdot",
    ffn: Literal["zero_origin", "tangent", "relu", "none"] = "zero_origin",
    gate: Literal["half", "frozen"] = "half",
    head: Literal["zero_origin", "tangent", "none"] = "zero_origin",
) -> Measured:
    """The same for several neighbouring tokens, (row, key): one run and one split of all blocks, then each its head."""
    (layers, scores), rules, readout = run.recorded_all, Rules(bias, ffn, gate), None
    _refuse(layers, rules)
    states, allowed = layers[-1].residual_out[run.rows], _allowed(layers, scores.dtype)
    if head != "none":
        readout = run.proved_readout(states, scores, max(allowed, layers[-1].tolerance))
        _refuse_head(None if readout is None else Head.of(readout, states[:1], run.targets[0]), head, scores)
    assert run.memory_budget is not None  # `ModelMethod.reads` says where it is
    rows, found = parts_of_rows(layers, run.rows, rules, run.memory_budget), []
    for number, (target, score) in enumerate(zip(run.targets, scores, strict=True)):
        part, state = rows[:, number : number + 1].contiguous(), states[number : number + 1]
        own = None if readout is None else Head.of(readout, state, target)
        one = _measured(part, state, own, target.of(score)[None], (rules, head, allowed))
        found.append(one if head == "none" else replace(one, values=one.values[0]))
    return _stacked(found)


def _stacked(found: Sequence[Measured]) -> Measured:
    """One row each."""
    notes, checks = (
        {name: torch.stack([one[name] for one in each]) for name in each[0]}
        for each in ([one.notes for one in found], [one.checks for one in found])
    )
    worst = {name: each.max() for name, each in checks.items()}
    return Measured(torch.stack([one.values for one in found]), notes, worst)


def _measured(
    row: Tensor, state: Tensor, head: Head | None, true: Tensor, how: tuple[Rules, LineRule, float]
) -> Measured:
    """The parts (source, 1, d_model) of one row: of each score (score, key), or without a head their lengths (key,)."""
    rules, line_of_head, allowed = how
    parts = row if head is None else _through_head(row, head, state, rules.bias, line_of_head)
    values = parts[:, 0]
    notes = {"completeness": _gap(values, state[0] if head is None else true)}
    checks = notes if rules.bias != "none" and rules.ffn in ("zero_origin", "tangent") else {}
    if checks:
        _refuse_gap(notes["completeness"], allowed)
    return Measured(values.norm(dim=-1) if head is None else values.T, notes, checks)


def _query(run: ModelRun, head: Head | None, states: Tensor) -> int:
    """The row of the last block's output that the head reads."""
    if run.position is not None:
        return run.position % len(states)
    if head is None:
        return 0
    found = int((head.scores(states) - run.scores).abs().amax(-1).argmin())
    _refuse_same_rows(states, found)
    return found


# The head ------------------------------------------------------------------------------------------------------------


def _through_head(row: Tensor, head: Head, state: Tensor, bias: BiasRule, rule: LineRule) -> Tensor:
    """Parts (source, 1, d_model) of the row that a head reads, and that row → parts (source, 1, class)."""
    parts = push_(row, None if head.norm is None else NormAfter(head.norm, state), bias)
    read = state if head.norm is None else normalise(state, head.norm)
    if head.pooler is not None:
        before = read @ head.pooler if head.pooler_bias is None else read @ head.pooler + head.pooler_bias
        parts = add_bias_(parts @ head.pooler, head.pooler_bias, bias)
        slope, intercept = line(head.activation, before, rule)
        add_bias_(parts.mul_(slope), intercept, bias)
        read = head.activation(before)
    push_(parts, None if head.norm_pooled is None else NormAfter(head.norm_pooled, read), bias)
    return add_bias_(parts @ head.classifier, head.classifier_bias, bias)


# What is refused -----------------------------------------------------------------------------------------------------


def _refuse(layers: Sequence[LayerTrace], rules: Rules) -> None:
    for layer in layers:
        _refuse_block(layer, rules.ffn, rules.gate)


def _refuse_block(layer: LayerTrace, ffn: LineRule, gate: str) -> None:
    """A block that the formulas do not describe."""
    reason = obstacle(layer)
    if reason:
        raise UnsupportedModel(
            f"Layer {layer.index}: decompx cannot split this block by token: {reason}. No number was produced. "
            "Use another method, such as gradient_inputs or globenc."
        )
    part = feed_forward(layer)
    assert part is not None
    gated = isinstance(part, GatedFeedForward)
    needs_line = ffn == "zero_origin" and not (gated and gate == "frozen")
    if needs_line and _at_zero(part.activation, layer.residual_in) != 0:
        raise BadOption(
            f"Layer {layer.index}: the activation is not zero at zero, so no line through the origin meets it "
            "everywhere. Use ffn='tangent'."
        )


def _refuse_head(head: Head | None, rule: LineRule, scores: Tensor) -> None:
    if head is None and not scores.any():
        raise UnsupportedModel(
            "Every score of the model is zero, so there is nothing to split, and its head cannot be told by what it "
            "computes. Are its weights loaded, and trained?"
        )
    if head is None:
        raise UnsupportedModel(
            "decompx found no head of the form norm, linear, activation, norm, linear (or a part of it that ends in a "
            "linear map) at one position behind the last block, and it must be split by token too. Use head='none' to "
            "stop before it, or another method, such as gradient_inputs."
        )
    if rule == "zero_origin" and _at_zero(head.activation, head.classifier) != 0:
        raise BadOption(
            "The activation of the head is not zero at zero, so no line through the origin meets it everywhere. Use "
            "head='tangent'."
        )


def _refuse_same_rows(states: Tensor, read: int) -> None:
    """Of rows with the same numbers, any may be the one that the head reads, and each is made of other parts."""
    rounding = 32 * torch.finfo(states.dtype).eps
    same = (states - states[read]).abs().amax(-1) <= rounding * states[read].abs().max()
    if int(same.sum()) > 1:
        raise UnsupportedModel(
            f"The last block makes the same vector of {int(same.sum())} tokens, at positions "
            f"{', '.join(map(str, same.nonzero().flatten().tolist()[:10]))}, so decompx cannot tell which of them the "
            "head reads, and each is made of other parts. Are the embeddings trained? Use another method, such as "
            "gradient_inputs."
        )


def _at_zero(activation: Any, like: Tensor) -> float:
    return float(activation(like.new_zeros(1)))


def _gap(parts: Tensor, true: Tensor) -> Tensor:
    """How far the sum of parts (source, number) is from the true numbers, relative to the sum of their sizes."""
    return (parts.sum(0) - true).abs().max() / parts.abs().sum(0).max().clamp_min(torch.finfo(parts.dtype).tiny)


def _allowed(layers: Sequence[LayerTrace], dtype: torch.dtype) -> float:
    """The largest gap, by the lowest precision that took part in what is compared."""
    if dtype != torch.float64:
        return _TOLERANCES.get(dtype, 1e-4)
    rounded = any(norm.kind == "rms" for layer in layers for norm in _norms(layer))
    rounded |= any(bool((layer.attention.sum(-1) - 1).abs().max() > 1e-12) for layer in layers)
    return _ROUNDED if rounded else _TOLERANCES[torch.float64]


def _norms(layer: LayerTrace) -> list[Norm]:
    places = (layer.block.attention, layer.block.ffn)
    found = [norm for place in places for norm in (place.norm_in, place.norm_out, place.norm_after)]
    return [norm for norm in found if norm is not None]


def _refuse_gap(gap: Tensor, allowed: float) -> None:
    if not gap <= allowed:
        raise TraceDoesNotAddUp(
            f"The parts of decompx miss what the model computed by {float(gap):.1e} (relative; allowed {allowed:.0e}), "
            "so they are not parts of its score. Something acts between the blocks or in the head, or rows of "
            "attention do not sum to one."
        )


METHOD = ModelMethod(
    name="decompx",
    title="DecompX",
    attribute=attribute,
    steps=steps,
    reads="blocks",
    quantity=QuantityBy("head", {"none": Quantity.NORM}, otherwise=Quantity.SIGNED),
    formula="y_c = Σ_k y_{c⇐k}, from x_{i⇐k} through every layer",
    paper=MODARRESSI_2023,
    cost="10·n²·d² per layer: about n forward passes for all layers",
    needs="a classification head or a vocabulary's; no experts",
)
