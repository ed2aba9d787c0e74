"""How strongly each output row of a block answers to each of its input rows: lengths of Jacobians, in closed form.

Rows are vectors, so derivatives multiply from the right: dy_i = Σ_j dx_j J_ij, with J_ij (input axis, output axis).
Take a serial block without norms in front of its sub-layers (post-norm),

    u_i = x_i + Σ_h z_i^h W_O^h,    z_i^h = Σ_j α_ij^h v_j^h,    α_i^h = softmax_j(s q_i^h · k_j^h),
    y_i = norm₂(h_i + ffn(h_i)),    h_i = norm₁(u_i).

What follows u acts on each row alone; its derivative is one d×d matrix per token,

    T_i = N₁ (I + W₁ diag(act′) W₂) N₂,     N = (C − ûᵀû / d) diag(γ) / s(u),     C the centring, û = u C / s(u).

A softmax answers to a score by ∂z_i / ∂score_ij = α_ij (v_j − z_i). So with B_i^h = W_O^h T_i, w_i^h = q_i^h (W_K^h)ᵀ
and r_ij^h = v_j^h − z_i^h,

    E_ij^h = W_V^h + s w_i^h ⊗ r_ij^h
    j ≠ i:   J_ij = Σ_h α_ij^h E_ij^h B_i^h
    j = i:   J_ii = T_i + Σ_h (α_ii^h E_ii^h + s W_Q^h Σ_j α_ij^h k_j^h ⊗ r_ij^h) B_i^h

Masked keys have zero weights and so zero blocks; rows of α may sum to less than one (attention sinks). With
K_i = B_i B_iᵀ, all heads side by side, and D_j the diagonal matrix that scales the input axis (by x_j, or ones),

    ‖D_j J_ij‖² = Σ_hg α_ij^h α_ij^g [ Σ_k D_jk² τ_i^hg[k] + 2 s m_ij^hg K_i^hg r_ij^g
                                       + s² (w_i^h D_j² w_i^g) (r_ij^h K_i^hg r_ij^g) ]       (j ≠ i)
    τ_i^hg[k] = W_V^h[k] K_i^hg W_V^g[k]ᵀ,      m_ij^hg = q_i^g M_j^gh,      M_j^gh = (W_K^g)ᵀ D_j² W_V^h.

Nothing with n²·d² or n·H·d² numbers exists at any time. Multiplications per token in units of d³, for d_ffn = 4 d:
T_i 4, B_i 1, K_i 1, τ_i ½, M_j 1 (where the D_j differ), J_ii 1 + 1/H, and 2 n/d for q M and K r. In all 8.6 + 2 n/d;
the backward passes of a whole block take 12 n.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from contextmix.maths.derivatives import after_norm, before_norm, slopes
from contextmix.maths.differences import largest_error
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.norms import Norm
from contextmix.maths.projections import Projections, by_head

WORKING_ELEMENTS = 1 << 25
"""Numbers that are alive at a time: 128 MiB in float32."""

TAIL_ELEMENTS = 1 << 22
"""Numbers of the widest tensor where tokens are taken a few at a time, to stay near the cache."""


@dataclass(frozen=True)
class SerialBlock:
    """A block of the kind that the module docstring describes, and its states for one sequence.

    Attributes:
        states: (query, d_model): x.
        query: (head, query, d_head).
        key: (head, key, d_head).
        value: (head, key, d_head).
        attention: (head, query, key).
        scaling: s, the factor of the scores.
        projections: W_Q, W_K and W_V with their biases.
        output_weight: (head, d_head, d_model): W_O times the scale of the sub-layer.
        attention_sum: (query, d_model): u.
        norm_after: norm₁ or None.
        residual_mid: (query, d_model): h.
        ffn: W₁, W₂ and the activation.
        ffn_out: (query, d_model): ffn(h).
        ffn_scale: Factor of ffn(h).
        ffn_sum: (query, d_model): h + ffn(h).
        norm_last: norm₂ or None.
    """

    states: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    attention: Tensor
    scaling: float
    projections: Projections
    output_weight: Tensor
    attention_sum: Tensor
    norm_after: Norm | None
    residual_mid: Tensor
    ffn: FeedForward
    ffn_out: Tensor
    ffn_scale: float | Tensor
    ffn_sum: Tensor
    norm_last: Norm | None

    def error(self) -> float:
        """How far the recorded queries, keys, values, attention and ffn output are from what the formulas give.

        Returns:
            The largest difference relative to the largest number of its tensor; infinite where the activation is not
            element-wise or the shapes do not fit. The closed form holds where this is rounding.
        """
        n_heads, _, d_head = self.query.shape
        maps = (self.projections.query, self.projections.key, self.projections.value)
        if any(one.weight.shape[-1] != n_heads * d_head for one in maps) or not self._is_elementwise():
            return float("inf")
        recorded = (self.query, self.key, self.value)
        pairs = [(one.by_head(self.states, n_heads), known) for one, known in zip(maps, recorded, strict=True)]
        pairs += [(self._plain_attention(), self.attention), (self.ffn(self.residual_mid), self.ffn_out)]
        return float(torch.stack([largest_error(found, known) for found, known in pairs]).amax())

    def _plain_attention(self) -> Tensor:
        """The softmax of the scaled scores over the keys that the model let each query see."""
        scores = (self.query @ self.key.transpose(-1, -2)) * self.scaling
        seen = scores.masked_fill(self.attention == 0, -torch.inf)
        return seen.softmax(-1) * self.attention.sum(-1, keepdim=True)

    def _is_elementwise(self) -> bool:
        """Whether a number behind the activation keeps its value when every other number in front of it is changed."""
        before = self.ffn.before_activation(self.residual_mid)
        changed = before.clone()
        changed[..., ::2] += 1
        return torch.equal(self.ffn.activation(before)[..., 1::2], self.ffn.activation(changed)[..., 1::2])


def jacobian_lengths(block: SerialBlock, weights: Tensor | None = None) -> Tensor:
    """‖∂y_i/∂x_j ⊙ weights_j‖_F for all pairs of tokens, by the formulas of the module docstring.

    Args:
        block: The block and its states.
        weights: (key, d_model): what the input axis of each Jacobian is multiplied by; None for ones.

    Returns:
        (query, key), ≥ 0.
    """
    scale = torch.ones_like(block.states[:1]) if weights is None else weights
    squares = torch.empty_like(block.attention[0])
    rows, keys = _steps(block)
    for some in _slices(len(squares), rows):
        gram, own = _tails(block, some, scale)
        for others in _slices(squares.shape[-1], keys):
            metric = scale.square() if weights is None else scale[others].square()
            squares[some, others] = _squares(block, gram, some, others, metric)
        squares.diagonal()[some] = own
    return squares.clamp_(min=0).sqrt_()


def _steps(block: SerialBlock) -> tuple[int, int]:
    """Queries and keys at a time: a query needs its d×d matrix K and pairs of d, a key its d×d matrix M (twice)."""
    n, d = block.states.shape
    keys = max(1, min(n, WORKING_ELEMENTS // (4 * d * d)))
    return max(1, min(n, WORKING_ELEMENTS // (2 * d * (d + 4 * keys)))), keys


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _tails(block: SerialBlock, rows: slice, scale: Tensor) -> tuple[Tensor, Tensor]:
    """K of each query, (row, head · d_head, head · d_head), and ‖D_i J_ii‖², (row,)."""
    d, d_ffn = block.ffn.first.shape
    projection = block.output_weight.flatten(0, 1)
    grams, squares = [], []
    for some in _slices(rows.stop - rows.start, max(1, TAIL_ELEMENTS // (d * d_ffn))):
        some = slice(rows.start + some.start, rows.start + some.stop)
        tail = tail_jacobians(block, some)
        pushed = projection @ tail
        own = tail.baddbmm_(_own_inputs(block, some), pushed)
        own *= (scale if len(scale) == 1 else scale[some]).unsqueeze(-1)
        squares.append(own.square().sum((-1, -2)))
        grams.append(pushed @ pushed.transpose(-1, -2))
    return torch.cat(grams), torch.cat(squares)


def tail_jacobians(block: SerialBlock, rows: slice) -> Tensor:
    """T_i, (row, d_model, d_model): input axis first."""
    ffn = block.ffn
    bent = slopes(ffn.activation, ffn.before_activation(block.residual_mid[rows]))
    found: Tensor = (ffn.first * bent.unsqueeze(-2)) @ (ffn.second * block.ffn_scale)
    found.diagonal(dim1=-2, dim2=-1).add_(1)
    found = after_norm(found, block.ffn_sum[rows], block.norm_last)
    return before_norm(found, block.attention_sum[rows], block.norm_after)


def _answers(block: SerialBlock, rows: slice, keys: slice) -> Tensor:
    """r_ij = v_j − z_i, (row, head, key, d_head)."""
    mean = block.attention[:, rows] @ block.value  # (head, row, d_head)
    return block.value[:, keys] - mean.transpose(0, 1).unsqueeze(-2)


def _asked(block: SerialBlock, rows: slice) -> Tensor:
    """w_i = W_K q_i, (row, head, d_model)."""
    key_weight = by_head(block.projections.key.weight, len(block.query))  # (d_model, head, d_head)
    return torch.einsum("khc,hrc->rhk", key_weight, block.query[:, rows])


def _own_inputs(block: SerialBlock, rows: slice) -> Tensor:
    """What stands in front of B_i in J_ii, (row, d_model, head · d_head)."""
    n_heads, n, _ = block.query.shape
    answers = _answers(block, rows, slice(0, n))
    weights = block.attention[:, rows].transpose(0, 1)  # (row, head, key)
    own = torch.arange(rows.start, rows.stop, device=weights.device)
    here = torch.arange(len(own), device=weights.device)
    kept = weights[here, :, own].unsqueeze(-1)  # (row, head, 1)
    value_weight, query_weight = (
        by_head(one.weight, n_heads) for one in (block.projections.value, block.projections.query)
    )
    inputs = value_weight * kept.unsqueeze(1)  # (row, d_model, head, d_head)
    turned = kept * answers[here, :, own] * block.scaling
    inputs += torch.einsum("rhk,rhc->rkhc", _asked(block, rows), turned)
    covariance = block.key.transpose(-1, -2) @ (answers * weights.unsqueeze(-1))  # (row, head, d_head, d_head)
    inputs += torch.einsum("khc,rhce->rkhe", query_weight * block.scaling, covariance)
    return inputs.flatten(-2)


def _squares(block: SerialBlock, gram: Tensor, rows: slice, keys: slice, metric: Tensor) -> Tensor:
    """‖D_j J_ij‖² off the diagonal, (row, key); metric D_j² (key or 1, d_model)."""
    n_heads = len(block.query)
    value_weight = block.projections.value.weight
    weights = block.attention[:, rows, keys]
    answers, asked = _answers(block, rows, keys), _asked(block, rows) * block.scaling
    # M with its axes as (head of the key, d_head, key, head of the value · d_head): one product, and q M is another.
    scaled = metric.T.unsqueeze(-1) * value_weight.unsqueeze(1)
    mixed = (block.projections.key.weight.T @ scaled.flatten(1)).view(n_heads, -1, *scaled.shape[1:]) * block.scaling
    total = torch.zeros_like(weights[0])
    for g in range(n_heads):
        pushed = answers[:, g] @ _head_rows(gram, g, n_heads)  # K r: (row, key, head · d_head)
        asks = (block.query[g, rows] @ mixed[g].flatten(1)).view(-1, *scaled.shape[1:])  # m
        crossed = by_head(pushed * asks, n_heads).sum(-1).permute(2, 0, 1)  # (head, row, key)
        bent = torch.einsum("rkhc,rhkc->hrk", by_head(pushed, n_heads), answers)
        across = ((asked * asked[:, g : g + 1]) @ metric.T).transpose(0, 1)  # (head, row, key or 1)
        inner = crossed.mul_(2).addcmul_(bent, across).mul_(weights).sum(0)
        total += weights[g] * (inner + _values(gram, value_weight, g, weights, metric))
    return total


def _values(gram: Tensor, value_weight: Tensor, g: int, weights: Tensor, metric: Tensor) -> Tensor:
    """Σ_h α^h Σ_k D² τ^hg[k], each unordered pair of heads once and doubled, (row, key)."""
    n_heads = len(weights)
    width = value_weight.shape[-1] // n_heads
    own, later = value_weight[:, g * width : (g + 1) * width], value_weight[:, g * width :]
    rows = torch.split(_head_rows(gram, g, n_heads)[..., g * width :], max(1, TAIL_ELEMENTS // (8 * later.numel())))
    tau = torch.cat([by_head(own @ some * later, n_heads - g).sum(-1) for some in rows])  # (row, d_model, head)
    found = (metric @ tau).permute(2, 0, 1) * weights[g:]
    return 2 * found.sum(0) - found[0]


def _head_rows(gram: Tensor, head: int, n_heads: int) -> Tensor:
    width = gram.shape[-1] // n_heads
    return gram[:, head * width : (head + 1) * width]
