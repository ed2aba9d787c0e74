"""DecompX: every vector of the model as a sum of one vector per input token, carried through all layers.

The state is ``parts`` (source, query, d_model): what input token k put into row i. Attention mixes rows and norms
divide them by a known number, so both are linear in the parts. Two things are not, and a rule decides for each: a bias
belongs to no token and is shared out (`maths.biases`), and an activation is replaced by a line (`maths.lines`). The
product of a gate needs a third rule.

The source is the first axis because attention mixes the queries of one source at a time (one product of matrices for
many sources), while everything after it treats each query by itself. So both halves run in place, in chunks of the one
axis and then of the other, and the state is the only tensor with n²·d numbers (a second one where the sub-layers run in
parallel).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from contextmix.maths.biases import BiasRule, add_bias_
from contextmix.maths.lines import LineRule, line
from contextmix.maths.norms import denominator
from contextmix.maths.parts import Parts
from contextmix.maths.split_block import NormAfter, SplitAttention, SplitBlock, SplitFeedForward

CHUNK_ELEMENTS = 1 << 23
"""Numbers that are worked on at a time: enough rows for fast products, few enough for the processor's cache."""

GateRule = Literal["half", "frozen"]


@dataclass(frozen=True)
class Rules:
    """How what is not linear is split.

    Attributes:
        bias: Who gets a bias.
        ffn: The line that stands in for an activation; ``"none"`` leaves the feed-forward part out.
        gate: Who gets the product of an activated gate a and u. ``"half"``: ½ (a ⊙ u_k + a_k ⊙ u), each factor to its
            own parts for one half; ``"frozen"``: a ⊙ u_k, as if the gate came from nowhere.
    """

    bias: BiasRule = "absdot"
    ffn: LineRule = "zero_origin"
    gate: GateRule = "half"


def first_parts(attended: Parts) -> Tensor:
    """After the first block's attention and residual: u[k, i] = Σ_h α^h_ik f^h(x_k) + 1[i = k] x_i.

    Before it every row is its own only source, so nothing has to be mixed. The value bias is inside f, and the output
    bias is not, as in the authors' code.

    Args:
        attended: The parts of the residual stream after attention, without a norm after the addition.

    Returns:
        (source, query, d_model), a new tensor.
    """
    assert attended.own is not None
    if attended.gate is None:
        parts = torch.bmm(attended.attention.permute(2, 1, 0), attended.sources())
    else:
        parts = attended.own.new_zeros(len(attended.own), *attended.own.shape)
        for keys, queries, vectors in attended.gated()[0].blocks():
            parts[keys, queries] = vectors
    if attended.gain is not None:
        parts.mul_(attended.gain)
    parts.diagonal(dim1=0, dim2=1).add_(attended.own.T)
    return parts


def own_parts(states: Tensor) -> Tensor:
    """Rows that are their own only source, (source, query, d_model), from (query, d_model)."""
    parts = states.new_zeros(len(states), *states.shape)
    parts.diagonal(dim1=0, dim2=1).copy_(states.T)
    return parts


def mix_(parts: Tensor, block: SplitAttention, step: int) -> Tensor:
    """Attention without biases, and the residual: u[k, i] = x[k, i] + Σ_h Σ_j α^h_ij x[k, j] W_V^h W_O^h. In place.

    Args:
        parts: (source, query, d_model), contiguous; overwritten.
        block: The attention.
        step: Sources at a time.

    Returns:
        ``parts``. Cost: 2 n²·d² + n³·d multiplications.
    """
    n, d_model = parts.shape[1:]
    read, write = block.value_weight.T, block.output_weight.flatten(0, 1)
    by_key = block.attention.transpose(1, 2)
    for sources in _slices(len(parts), step):
        rows = parts[sources].view(-1, d_model)
        # (head, d_head · source, key): laid out so that the mixing is one product per head, and its result, transposed,
        # the left side of the next
        values = (read @ rows.T).view(len(by_key), -1, n)
        mixed = torch.bmm(values, by_key).view(len(read), -1)
        if block.gate is not None:
            mixed.view(len(read), -1, n).mul_(block.gate.T.unsqueeze(1))
        rows.addmm_(mixed.T, write)
    return parts


def mix_rows_(parts: Tensor, block: SplitAttention, rows: slice, step: int) -> Tensor:
    """Some queries of `mix_`, (source, row, d_model), a new tensor; ``parts`` may be overwritten.

    A few rows are mixed first, with n²·d·H multiplications for each: the values of all other rows are never made.
    """
    count, n, n_heads = rows.stop - rows.start, len(parts), len(block.attention)
    if count * n_heads > 2 * parts.shape[-1] + n:
        return mix_(parts, block, step)[:, rows].contiguous()
    shown, found = block.queries(rows), parts[:, rows].clone(memory_format=torch.contiguous_format)
    weights, matrices = shown.attention.flatten(0, 1), block.value_weight.reshape(parts.shape[-1], n_heads, -1)
    for sources in _slices(n, max(1, n // count)):  # so that no more is held than for one row: a vector per head
        mixed = (weights @ parts[sources]).view(-1, n_heads, count, parts.shape[-1])
        values = torch.einsum("khrd,dhc->krhc", mixed, matrices)
        if shown.gate is not None:
            values *= shown.gate.view(values.shape[1:])
        found[sources] += torch.einsum("krhc,hcd->krd", values, block.output_weight)
    return found


def after_attention_(parts: Tensor, block: SplitBlock, rules: Rules, added: Tensor | None = None) -> Tensor:
    """The rest of a block, once attention has mixed: its bias, its norm, the feed-forward part, its norm. In place.

    Args:
        parts: (source, query, d_model), contiguous: the residual stream after attention; overwritten.
        block: Its queries are those of ``parts``.
        rules: How biases, activations and gates are split.
        added: The parts of a parallel feed-forward part; left out, it reads the result of attention.

    Returns:
        ``parts``.

    Source:
        DecompX, section 3, and the authors' code: the bias of attention is shared out after the residual was added
        (the paper: before).
    """
    add_bias_(parts, block.attention.bias, rules.bias)
    push_(parts, block.attention.after, rules.bias)
    if added is not None:
        parts += added
    elif rules.ffn != "none":
        parts += feed_forward_parts(parts, block.ffn, rules)
    return push_(parts, block.ffn.after, rules.bias)


def push_(parts: Tensor, after: NormAfter | None, bias: BiasRule) -> Tensor:
    """Parts (source, query, d_model) through a norm with the denominator of the full rows, in place."""
    if after is None:
        return parts
    norm = after.norm
    if norm.kind == "layer":
        parts.sub_(parts.mean(-1, keepdim=True))
    inverse = denominator(after.total, norm).reciprocal()
    parts.mul_(inverse if norm.weight is None else inverse * norm.weight)
    return add_bias_(parts, norm.bias, bias)


def feed_forward_parts(parts: Tensor, ffn: SplitFeedForward, rules: Rules) -> Tensor:
    """What a feed-forward part makes of parts.

    Args:
        parts: (source, query, d_model); left as they are.
        ffn: Its queries are those of ``parts``.
        rules: How biases, activations and gates are split.

    Returns:
        (source, query, d_out), a new tensor.

    Source:
        DecompX for a plain part. For a gated one, ``"half"`` is the Shapley value of a product of two factors, and the
        uniform rule of AttnLRP (Achtibat et al. 2024).
    """
    read = parts if ffn.read is None else parts * ffn.read
    inner = None
    if ffn.up is None or rules.gate == "half":
        inner = add_bias_(read @ ffn.first.weight, ffn.first.bias, rules.bias)
        slope, intercept = line(ffn.activation, ffn.before, rules.ffn)
        add_bias_(inner.mul_(slope), intercept, rules.bias)
    if ffn.up is not None:
        assert ffn.factor is not None
        other = add_bias_(read @ ffn.up.weight, ffn.up.bias, rules.bias).mul_(ffn.activation(ffn.before))
        inner = other if inner is None else inner.mul_(ffn.factor).add_(other).mul_(0.5)
    assert inner is not None
    found = inner @ ffn.second.weight
    if ffn.write is not None:
        found.mul_(ffn.write)
    return add_bias_(found, _second_bias(ffn), rules.bias)


def _second_bias(ffn: SplitFeedForward) -> Tensor | None:
    """What the feed-forward part adds beside the parts: (d_out,), or one for each row."""
    bias = ffn.second.bias
    if ffn.write is not None:
        bias = None if bias is None else bias * ffn.write
    return bias if ffn.shift is None else ffn.shift if bias is None else bias + ffn.shift


def through_block_(parts: Tensor, block: SplitBlock, rules: Rules, step: int) -> Tensor:
    """`mix_` and `after_attention_` for all queries, ``step`` at a time, in place."""
    added = parallel_parts(parts, block, rules, step)
    return rest_of_block_(mix_(parts, block.attention, step), block, rules, step, added)


def rest_of_block_(parts: Tensor, block: SplitBlock, rules: Rules, step: int, added: Tensor | None) -> Tensor:
    """`after_attention_` for all queries, ``step`` at a time, in place."""
    for rows in _slices(parts.shape[1], step):
        own = None if added is None else added[:, rows]
        parts[:, rows] = after_attention_(parts[:, rows].contiguous(), block.queries(rows), rules, own)
    return parts


def parallel_parts(parts: Tensor, block: SplitBlock, rules: Rules, step: int) -> Tensor | None:
    """What a feed-forward part adds that reads the block's input, like ``parts``; None if it reads something else.

    With the rule ``"none"`` it adds zeros.
    """
    if not block.parallel:
        return None
    added = torch.zeros_like(parts)
    for rows in _slices(parts.shape[1], step) if rules.ffn != "none" else ():
        added[:, rows] = feed_forward_parts(parts[:, rows], block.queries(rows).ffn, rules)
    return added


# Memory --------------------------------------------------------------------------------------------------------------


def held_elements(n: int, n_heads: int, d_model: int, *, parallel: bool = False) -> int:
    """Numbers held all the time: the state (two where sub-layers run in parallel), and a vector per token and head."""
    return n * n * ((2 if parallel else 1) * d_model + n_heads) + n * n_heads * d_model


def row_elements(n: int, d_attention: int, d_model: int, d_ffn: int, *, gated: bool = False) -> int:
    """Numbers held for each source that attention mixes, or each query of what follows, worked on at a time."""
    return n * max(2 * d_attention, 2 * d_model + (d_model + 2 * d_ffn if gated else d_ffn))


def _slices(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
