"""DecompX: how much of a class score did each input token bring, with its sign?

Every vector of the model is kept as a sum of one vector per input token, through all layers, the pooler and the
classifier. What arrives at a class score is a number per token, and these numbers add up to the score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from contextmix.contracts import Measured, ModelMethod
from contextmix.errors import BadOption, TraceDoesNotAddUp, UnsupportedModel
from contextmix.maths import decompx
from contextmix.maths.biases import BiasRule
from contextmix.maths.decompx import PostNormBlock
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.lines import LineRule
from contextmix.modelrun import Head, ModelRun
from contextmix.papers import MODARRESSI_2023
from contextmix.provenance import Quantity
from contextmix.trace import LayerTrace

# By the precision of the model. Parts are carried in float32 at least: in half precision it is the model that rounds.
_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def attribute(
    run: ModelRun,
    *,
    bias: Literal["absdot", "abssim", "norm", "equal", "cls", "none"] = "absdot",
    ffn: Literal["zero_origin", "tangent", "relu", "none"] = "zero_origin",
    head: Literal["zero_origin", "tangent", "none"] = "zero_origin",
) -> Measured:
    """DecompX of all classes.

    Args:
        run: The model and one input.
        bias: How each bias is shared out: by ``"absdot"`` |⟨b, u_k⟩|, ``"abssim"`` |cos(b, u_k)| or ``"norm"`` ‖u_k‖,
            to all ``"equal"``, all to the first token (``"cls"``), or left out (``"none"``: nothing adds up then).
        ffn: The line that replaces the activation of the feed-forward part: through the origin (``"zero_origin"``), the
            ``"tangent"``, that of ``"relu"``, or ``"none"`` to leave the feed-forward part out. With the last two
            nothing adds up.
        head: The same for the activation of the head; ``"none"`` leaves the head out: lengths of the parts of the
            vector that it would read.

    Returns:
        (class, key), signed, in units of the class score; Σ_k is the score. Without head (key,): norms, ≥ 0. Notes:
        ``completeness``, how far the parts are from what the model computed, relative to the sum of their sizes.

    Raises:
        UnsupportedModel: If there is no classification head of the usual kind, or a block is not post-norm with a
            feed-forward part of two matrices.
        BadOption: If the memory budget is too small, or an activation has no line through the origin.
        TraceDoesNotAddUp: If the parts miss what the model computed although nothing was left out.

    Source:
        DecompX, section 3, as the authors' code has it (its ``aggregation="vector"``, not its unusable fast mode). Bias
        rule: `maths.decompx.bias_shares`. In the first layer the value bias stays inside the values; later it is part
        of the attention's bias, which is shared out after the residual was added (the paper: before). The classifier's
        bias is shared out by dot products over classes. With ``bias="none"`` a tangent's intercept is left out too.
        The cost is ours: heads are never kept apart, the first layer starts from one source per row, and of the last
        layer only the row that the head reads is made.
    """
    layers = list(run.layers())
    found = run.head()
    for layer in layers:
        _refuse(layer, ffn)
    if head != "none":
        _refuse_head(found, head)
    scoring = None if found is None else _as_feed_forward(found)
    states = layers[-1].residual_out
    query = 0 if scoring is None else int((scoring(states) - run.scores).abs().amax(-1).argmin())
    row = _row(layers, query, bias, ffn, _step(layers[0], run.memory_budget))
    parts, true = row, states[query]
    if scoring is not None and head != "none":
        before = scoring.before_activation(states[query : query + 1])
        parts, true = decompx.feed_forward_parts(row, scoring, before, bias, head), run.scores
    gap = _gap(parts[:, 0], true)
    if bias != "none" and ffn in ("zero_origin", "tangent"):
        _refuse_gap(gap, run.scores.dtype)
    values = parts[:, 0].norm(dim=-1) if head == "none" else parts[:, 0].T
    return Measured(values, {"completeness": gap})


def _row(layers: Sequence[LayerTrace], query: int, bias: BiasRule, ffn: LineRule, step: int) -> Tensor:
    """The parts of one row of the last block's output, (source, 1, d_model)."""
    rows = slice(query, query + 1)
    parts = decompx.first_parts(layers[0].residual_parts)
    for number, layer in enumerate(layers):
        block, last = _block(layer), number == len(layers) - 1
        if number and last:
            parts = decompx.mix_row(parts, block.attention, _value_weight(layer), block.output_weight, query)
        elif number:
            parts = decompx.mix_(parts, block.attention, _value_weight(layer), block.output_weight, step)
        elif last:
            parts = parts[:, rows].contiguous()
        parts = decompx.through_block_(parts, block.queries(rows) if last else block, bias, ffn, step)
    return parts


def _block(layer: LayerTrace) -> PostNormBlock:
    block, states = layer.block, layer.states
    norms, feed_forward = (block.attention.norm_after, block.ffn.norm_after), block.feed_forward
    assert norms[0] is not None  # refused before
    assert norms[1] is not None
    assert isinstance(feed_forward, FeedForward)
    return PostNormBlock(
        attention=layer.attention,
        output_weight=block.output_weight,
        bias=_attention_bias(layer),
        attention_sum=states.attention_sum,
        norm_mid=norms[0],
        ffn=feed_forward,
        before=feed_forward.before_activation(states.residual_mid),
        ffn_sum=states.ffn_sum,
        norm_last=norms[1],
    )


def _attention_bias(layer: LayerTrace) -> Tensor | None:
    """The output bias; from the second layer on with what the value bias adds, as rows of attention sum to one."""
    projections, block = layer.block.projections, layer.block
    value_bias = None if projections is None or layer.index == 0 else projections.value.bias
    if value_bias is None:
        return block.output_bias
    pushed = value_bias @ block.output_weight.flatten(0, 1)
    return pushed if block.output_bias is None else pushed + block.output_bias


def _value_weight(layer: LayerTrace) -> Tensor:
    assert layer.block.projections is not None  # refused before
    return layer.block.projections.value.weight


def _as_feed_forward(head: Head) -> FeedForward:
    """A head is a feed-forward part that ends in classes; without a pooler, its first matrix is the identity."""
    first = head.pooler
    if first is None:
        first = torch.eye(len(head.classifier), dtype=head.classifier.dtype, device=head.classifier.device)
    return FeedForward(first, head.pooler_bias, head.activation, head.classifier, head.classifier_bias)


def _step(layer: LayerTrace, budget: int) -> int:
    """Sources or queries at a time.

    Raises:
        BadOption: If the budget does not hold the parts and one of these.
    """
    n_heads, n = layer.attention.shape[:2]
    d_model, ffn, size = layer.residual_in.shape[-1], layer.block.feed_forward, layer.residual_in.element_size()
    assert isinstance(ffn, FeedForward)
    held = decompx.held_elements(n, n_heads, d_model)
    width = layer.block.output_weight[..., 0].numel()
    row = decompx.row_elements(n, width, d_model, ffn.first.shape[-1])
    if (held + row) * size > budget:
        raise BadOption(
            f"memory_budget={budget} is too small: decompx keeps a vector for each of the {n}·{n} pairs of tokens and "
            f"works on one row at a time, which takes {(held + row) * size} bytes. Give it at least these, or a "
            "shorter text."
        )
    return min((budget // size - held) // row, max(1, decompx.CHUNK_ELEMENTS // row))


# What is refused -----------------------------------------------------------------------------------------------------


def _refuse(layer: LayerTrace, ffn: LineRule) -> None:
    """A block that the formulas do not describe."""
    block, feed_forward = layer.block, layer.block.feed_forward
    norms = (block.attention, block.ffn)
    reason = None
    if block.parallel or not all(norm.norm_after and not norm.norm_in and not norm.norm_out for norm in norms):
        reason = "its norms do not stand after each addition (post-norm, as in BERT)"
    elif not all(isinstance(norm.scale, float) and norm.scale == 1 for norm in norms):
        reason = "it scales what a sub-layer adds"
    elif not isinstance(feed_forward, FeedForward):
        reason = "its feed-forward part is not two matrices with an activation between them (a gate, or experts)"
    elif block.projections is None or block.projections.value.weight.shape[-1] != block.output_weight[..., 0].numel():
        reason = "its values are no linear map of its input, or heads share them"
    elif ffn == "zero_origin" and _at_zero(feed_forward.activation, feed_forward.first) != 0:
        raise BadOption(
            f"Layer {layer.index}: the activation is not zero at zero, so no line through the origin meets it "
            "everywhere. Use ffn='tangent'."
        )
    if reason:
        raise UnsupportedModel(
            f"Layer {layer.index}: decompx cannot split this block by token: {reason}. No number was produced. "
            "Use another method, such as gradient_inputs or globenc."
        )


def _refuse_head(head: Head | None, rule: LineRule) -> None:
    if head is None:
        raise UnsupportedModel(
            "decompx found no classification head of the form linear, activation, linear (or one linear map) at one "
            "position behind the last block, and it must be split by token too. Use head='none' to stop before it, or "
            "another method, such as gradient_inputs."
        )
    if rule == "zero_origin" and _at_zero(head.activation, head.classifier) != 0:
        raise BadOption(
            "The activation of the classification head is not zero at zero, so no line through the origin meets it "
            "everywhere. Use head='tangent'."
        )


def _at_zero(activation: Any, like: Tensor) -> float:
    return float(activation(like.new_zeros(1)))


def _gap(parts: Tensor, true: Tensor) -> Tensor:
    """How far the sum of parts (source, number) is from the true numbers, relative to the sum of their sizes."""
    return (parts.sum(0) - true).abs().max() / parts.abs().sum(0).max().clamp_min(torch.finfo(parts.dtype).tiny)


def _refuse_gap(gap: Tensor, ran_in: torch.dtype) -> None:
    allowed = _TOLERANCES.get(ran_in, 1e-4)
    if not gap <= allowed:
        raise TraceDoesNotAddUp(
            f"The parts of decompx miss what the model computed by {float(gap):.1e} (relative; allowed {allowed:.0e}), "
            "so they are not parts of its score. Something acts between the blocks or in the head, or rows of "
            "attention do not sum to one."
        )


def _quantity(options: Mapping[str, Any]) -> Quantity:
    return Quantity.NORM if options.get("head") == "none" else Quantity.SIGNED


METHOD = ModelMethod(
    name="decompx",
    attribute=attribute,
    quantity=_quantity,
    formula="y_c = Σ_k y_{c⇐k}, from x_{i⇐k} through every layer",
    paper=MODARRESSI_2023,
    cost="10·n²·d² per layer: about n forward passes for all layers",
    needs="a classification head; post-norm blocks",
)
