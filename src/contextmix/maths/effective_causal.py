"""Effective attention where a token sees only what came before it.

The null space of a row is a space of weights on the tokens that it may attend to. In a causal model these differ from
row to row, so each row has its own projection: with V_i the values that row i sees and a_i its weights on them,

    a_eff,i = a_i V_i V_i⁺ = (a_i V_i) (V_iᵀ V_i)⁻¹ V_iᵀ

in float64. Where each row sees all tokens before it, blocks of rows share their factors (`_growing`); with a sliding
window, each row has its own. Rows that see no more tokens than d_head lose nothing if their values are independent.
Where neither is certain, singular values decide, as for the whole matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.maths.effective import condition_limit, inverse_factor, value_space

GRAM_ELEMENTS = 1 << 18
"""Numbers of running Gram matrices that are held at a time."""
ROWS = 64
"""The fewest rows that share their factors."""


def first_seen(attention: Tensor) -> Tensor | None:
    """The first token that each row of a causal model can see; the last one is the row's own.

    A model is causal if no head gives any weight to a later token and every token gives some to itself. A sliding
    window shows in rows that give no weight to the first tokens. All attention on one token is no mask.

    Args:
        attention: (..., head, query, key).

    Returns:
        (query,), positions that never fall; None if the model is not causal.
    """
    if attention.shape[-1] < 2 or attention[..., 0, 1:].any():  # a look at one row settles most cases
        return None
    seen = attention.ne(0).flatten(0, -3).any(0)
    if seen.triu(1).any() or not seen.diagonal().all():
        return None
    first = seen.to(torch.uint8).argmax(-1)
    return first.flip(0).cummin(0).values.flip(0)


def causal_effective(attention: Tensor, value: Tensor, first: Tensor) -> Tensor:
    """A_eff of each head of a causal model, (..., head, query, key).

    Args:
        attention: (..., head, query, key).
        value: (..., head, key, d_head).
        first: (query,), from `first_seen`.
    """
    pairs = zip(attention.flatten(0, -3), value.flatten(0, -3), strict=True)
    return torch.stack([_one_head(weights, values, first) for weights, values in pairs]).view_as(attention)


def _one_head(attention: Tensor, value: Tensor, first: Tensor) -> Tensor:
    n, d = value.shape
    out, lengths = attention.clone(), torch.arange(1, n + 1, device=value.device) - first
    few = lengths <= d
    independent = bool(value_space(value[: int(few.sum())]).is_everything)
    undecided = torch.zeros_like(few) if independent else few.clone()
    exact, later = value.double(), ~few
    if n > d and not first.any():
        out[d:], condition = _growing(attention[d:], exact)
        later[d:] = ~(condition < condition_limit(value))
    for rows in torch.split(later.nonzero().flatten(), max(1, GRAM_ELEMENTS // d**2)):
        if len(rows):
            projected, condition = _projected(attention, exact, first, rows)
            out[rows], undecided[rows] = projected.to(out.dtype), ~(condition < condition_limit(value))
    for row in undecided.nonzero().flatten().tolist():
        own = slice(int(first[row]), row + 1)
        basis = value_space(value[own]).basis
        out[row, own] = (attention[row, own] @ basis) @ basis.mT
    return out


def _growing(attention: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """A_eff of the rows d_head, d_head + 1, … that see everything before them, and a bound on each row's condition.

    Rows are taken in blocks. With G = L Lᵀ of the values before a block, and Y = V_block L⁻ᵀ, the Gram matrix of its
    row i is L (I + Y_iᵀ Y_i) Lᵀ, where Y_i are the rows of Y up to i. By Woodbury's identity its inverse needs that of
    I + Y_i Y_iᵀ, whose Cholesky factor is the leading part of the one of the whole block. So two factors serve all
    rows of a block: n · d_head² operations, beside the two products with the values.

    Args:
        attention: (query, key): the weights of these rows.
        values: (key, d_head), float64.
    """
    n, d = values.shape
    size = max(d, ROWS)
    starts = range(d, n, size)
    blocks = torch.nn.functional.pad(values[d:], (0, 0, 0, (d - n) % size)).view(-1, size, d)
    grams = torch.cat([(values[:d].mT @ values[:d]).unsqueeze(0), blocks.mT @ blocks]).cumsum(0)
    inverse, condition = inverse_factor(grams[:-1])
    lengths = grams.diagonal(dim1=-2, dim2=-1).sum(-1)
    condition = condition * (lengths[1:] / lengths[:-1]).sqrt()  # the values of a row are no longer than its block's
    outputs = torch.zeros_like(blocks)
    for output, start in zip(outputs, starts, strict=True):
        rows = attention[start - d : start - d + size, : start + size].double()
        output[: len(rows)] = rows @ values[: start + size]
    weights = _solved(outputs @ inverse.mT, blocks @ inverse.mT) @ inverse
    found = torch.zeros_like(attention)
    for weight, start in zip(weights, starts, strict=True):
        rows = found[start - d : start - d + size, : start + size]
        rows.copy_(weight[: len(rows)] @ values[: start + size].mT)
    return found.tril_(d), condition.repeat_interleave(size)[: n - d]


def _solved(outputs: Tensor, rows: Tensor) -> Tensor:
    """x_i (I + Y_iᵀ Y_i)⁻¹ for each row x_i of the outputs and the rows Y_i up to it; both (block, row, d_head)."""
    eye = torch.eye(rows.shape[-2], dtype=rows.dtype, device=rows.device)
    factor, _ = torch.linalg.cholesky_ex(rows @ rows.mT + eye)  # fails where the values before the block are singular
    shares = torch.linalg.solve_triangular(factor, rows @ outputs.mT, upper=False).triu_()
    shares = torch.linalg.solve_triangular(factor.mT, shares, upper=True)
    found: Tensor = outputs - shares.mT @ rows
    return found


def _projected(attention: Tensor, values: Tensor, first: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows of A_eff by their Gram matrices, and the condition of the values that each sees."""
    low, start, high = int(first[rows[0]]), int(rows[0]), int(rows[-1]) + 1
    grams = values[low:start].mT @ values[low:start] + _running_grams(values[start:high])[rows - start + 1]
    if int(first[rows[-1]]) > low:
        grams -= _running_grams(values[low : int(first[rows[-1]])])[first[rows] - low]
    inverse, condition = inverse_factor(grams)
    outputs = attention[rows, low:high].double() @ values[low:high]
    weights = inverse.mT @ (inverse @ outputs.unsqueeze(-1))
    projected = torch.zeros(len(rows), len(values), dtype=values.dtype, device=values.device)
    projected[:, low:high] = weights.squeeze(-1) @ values[low:high].mT
    keys = torch.arange(len(values), device=values.device)
    hidden = (keys > rows[:, None]) | (keys < first[rows][:, None])
    return projected.masked_fill_(hidden, 0), condition


def _running_grams(values: Tensor) -> Tensor:
    """Σ_{j<m} v_jᵀ v_j for m = 0, 1, …, (m + 1, d_head, d_head)."""
    squares = values.unsqueeze(-1) * values.unsqueeze(-2)
    return torch.cat([squares.new_zeros(1, *squares.shape[1:]), squares.cumsum(0)])
