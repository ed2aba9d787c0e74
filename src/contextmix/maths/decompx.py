"""DecompX: every vector of the model as a sum of one vector per input token, carried through all layers.

The state is ``parts`` (source, query, d_model): what input token k put into row i. Attention mixes rows and norms
divide them by a known number, so both are linear in the parts. Two things are not, and a rule decides for each: a bias
belongs to no token and is shared out (`maths.biases`), and an activation is replaced by a line (`maths.lines`).

The source is the first axis because attention mixes the queries of one source at a time (one product of matrices for
many sources), while everything after it treats each query by itself. So both halves run in place, in chunks of the one
axis and then of the other, and the state is the only tensor with n²·d numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from contextmix.maths.biases import BiasRule, add_bias_
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.lines import LineRule, line
from contextmix.maths.norms import Norm, denominator
from contextmix.maths.parts import Parts

CHUNK_ELEMENTS = 1 << 23
"""Numbers that are worked on at a time: enough rows for fast products, few enough for the processor's cache."""


@dataclass(frozen=True)
class PostNormBlock:
    """One block as DecompX reads it: attention, norm, feed-forward part, norm; of one sequence.

    Attributes:
        attention: (head, query, key): weights after softmax.
        output_weight: (head, d_head, d_model).
        bias: (d_model,) or None: what attention adds to every row beside the parts.
        attention_sum: (query, d_model): the true input of the first norm.
        norm_mid: The first norm.
        ffn: The feed-forward part.
        before: (query, d_ffn): the true input of its activation.
        ffn_sum: (query, d_model): the true input of the second norm.
        norm_last: The second norm.
    """

    attention: Tensor
    output_weight: Tensor
    bias: Tensor | None
    attention_sum: Tensor
    norm_mid: Norm
    ffn: FeedForward
    before: Tensor
    ffn_sum: Tensor
    norm_last: Norm

    def queries(self, rows: slice) -> PostNormBlock:
        """The same for some queries only."""
        return replace(
            self,
            attention=self.attention[:, rows],
            attention_sum=self.attention_sum[rows],
            before=self.before[rows],
            ffn_sum=self.ffn_sum[rows],
        )


def first_parts(attended: Parts) -> Tensor:
    """After the first block's attention and residual: u[k, i] = Σ_h α^h_ik f^h(x_k) + 1[i = k] x_i.

    Before it every row is its own only source, so nothing has to be mixed. The value bias is inside f, and the output
    bias is not, as in the authors' code.

    Args:
        attended: The parts of the residual stream after attention, without a norm.

    Returns:
        (source, query, d_model), a new tensor.
    """
    assert attended.own is not None
    parts = torch.bmm(attended.attention.permute(2, 1, 0), attended.sources())
    parts.diagonal(dim1=0, dim2=1).add_(attended.own.T)
    return parts


def mix_(parts: Tensor, attention: Tensor, weight: Tensor, output_weight: Tensor, step: int) -> Tensor:
    """Attention without biases, and the residual: u[k, i] = x[k, i] + Σ_h Σ_j α^h_ij x[k, j] W_V^h W_O^h. In place.

    Args:
        parts: (source, query, d_model), contiguous; overwritten.
        attention: (head, query, key).
        weight: W_V, (d_model, head · d_head).
        output_weight: W_O, (head, d_head, d_model).
        step: Sources at a time.

    Returns:
        ``parts``. Cost: 2 n²·d² + n³·d multiplications.
    """
    n, d_model = parts.shape[1:]
    n_heads = len(attention)
    read, write, by_key = weight.T, output_weight.flatten(0, 1), attention.transpose(1, 2)
    for sources in _slices(len(parts), step):
        rows = parts[sources].view(-1, d_model)
        # (head, d_head · source, key): laid out so that the mixing is one product per head, and its result, transposed,
        # the left side of the next
        values = (read @ rows.T).view(n_heads, -1, n)
        mixed = torch.bmm(values, by_key).view(len(read), -1)
        rows.addmm_(mixed.T, write)
    return parts


def mix_row(parts: Tensor, attention: Tensor, weight: Tensor, output_weight: Tensor, query: int) -> Tensor:
    """One query of `mix_`, (source, 1, d_model), by mixing first: n²·d·H multiplications; nothing is overwritten."""
    mixed = attention[:, query] @ parts  # (source, head, d_model)
    values = torch.einsum("khd,dhc->khc", mixed, weight.reshape(len(weight), len(attention), -1))
    return torch.einsum("khc,hcd->kd", values, output_weight).add_(parts[:, query]).unsqueeze(1)


def after_attention_(parts: Tensor, block: PostNormBlock, bias: BiasRule, ffn: LineRule) -> Tensor:
    """The rest of a block: output bias, norm, feed-forward part, norm. In place.

    Args:
        parts: (source, query, d_model), contiguous: the residual stream after attention; overwritten.
        block: Its queries are those of ``parts``.
        bias: Rule for the biases.
        ffn: Rule for the activation; ``"none"`` leaves the whole feed-forward part out.

    Returns:
        ``parts``.

    Source:
        DecompX, section 3, and the authors' code: the bias of attention is shared out after the residual was added
        (the paper: before).
    """
    add_bias_(parts, block.bias, bias)
    _push(parts, block.attention_sum, block.norm_mid, bias)
    if ffn != "none":
        parts += feed_forward_parts(parts, block.ffn, block.before, bias, ffn)
    return _push(parts, block.ffn_sum, block.norm_last, bias)


def _push(parts: Tensor, full: Tensor, norm: Norm, bias: BiasRule) -> Tensor:
    """Parts (source, query, d_model) through a norm with the denominator of the full rows, in place."""
    if norm.kind == "layer":
        parts.sub_(parts.mean(-1, keepdim=True))
    inverse = denominator(full, norm).reciprocal()
    parts.mul_(inverse if norm.weight is None else inverse * norm.weight)
    return add_bias_(parts, norm.bias, bias)


def feed_forward_parts(parts: Tensor, ffn: FeedForward, before: Tensor, bias: BiasRule, rule: LineRule) -> Tensor:
    """Two matrices with an activation between them (also a classification head), applied to parts.

    Args:
        parts: (source, query, d_model).
        ffn: The two matrices.
        before: (query, d_ffn): the true input of the activation.
        bias: Rule for both biases and for the intercept of a tangent.
        rule: Rule for the activation.

    Returns:
        (source, query, d_out), a new tensor.
    """
    inner = add_bias_(parts @ ffn.first, ffn.first_bias, bias)
    slope, intercept = line(ffn.activation, before, rule)
    add_bias_(inner.mul_(slope), intercept, bias)
    return add_bias_(inner @ ffn.second, ffn.second_bias, bias)


def through_block_(parts: Tensor, block: PostNormBlock, bias: BiasRule, ffn: LineRule, step: int) -> Tensor:
    """`after_attention_` for all queries, ``step`` at a time, in place."""
    for rows in _slices(parts.shape[1], step):
        parts[:, rows] = after_attention_(parts[:, rows].contiguous(), block.queries(rows), bias, ffn)
    return parts


# Memory --------------------------------------------------------------------------------------------------------------


def held_elements(n: int, n_heads: int, d_model: int) -> int:
    """Numbers held all the time: the state, and one vector per token and head."""
    return n * n * (d_model + n_heads) + n * n_heads * d_model


def row_elements(n: int, d_attention: int, d_model: int, d_ffn: int) -> int:
    """Numbers held for each source that attention mixes, or each query of what follows, worked on at a time."""
    return n * max(2 * d_attention, 2 * d_model + d_ffn)


def _slices(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
