"""ALTI: how much of the way from nothing to the whole row does each part go?

    c[i, j] = max(0, ‖y_i‖ − ‖y_i − T_i(x_j)‖)

With L1 lengths, as published, the vectors are needed (`maths.l1_distances`). With L2 lengths no vector is built at all.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from contextmix.maths.l1_distances import l1_distances
from contextmix.maths.parts import Parts


def l1_contributions(parts: Parts, whole: Tensor) -> Tensor:
    """Contributions by L1 lengths; n²·H·d multiplications.

    Args:
        parts: T_i(x_j).
        whole: (..., query, d_model): y_i.

    Returns:
        (..., query, key), ≥ 0, in units of the residual stream; 0 for a token that no head gives any weight. A residual
        that stands apart is one more column.
    """
    if parts.gate is not None:
        return _of_seen_tokens(_gated(parts, whole).clamp_(min=0), parts)
    n_heads, n_queries, n_keys = parts.attention.shape[-3:]
    weights = parts.attention if parts.gain is None else parts.attention * parts.gain.unsqueeze(-3)
    weights = weights.reshape(-1, n_heads, n_queries, n_keys)
    values = parts.value.reshape(-1, *parts.value.shape[-3:])
    wholes = whole.reshape(-1, *whole.shape[-2:])
    own = torch.zeros_like(whole) if parts.own is None else parts.own
    owns = [None] * len(wholes) if parts.apart else own.reshape(wholes.shape)
    unseen = _unseen(parts)
    flat = zip(weights, values, owns, wholes, unseen.logical_not().reshape(-1, n_queries, n_keys), strict=True)
    sent = parts.weight.expand(-1, n_keys, -1) if parts.shared else None
    distances = torch.stack(
        [
            l1_distances(w, v @ parts.weight if sent is None else sent, x, y, seen, parts.first)
            for w, v, x, y, seen in flat
        ]
    )
    distances = distances.view(*whole.shape[:-1], n_keys)
    if parts.apart and parts.own is not None:
        distances = torch.cat([distances, (whole - own).abs().sum(-1, keepdim=True)], dim=-1)
    contributions = whole.abs().sum(-1, keepdim=True) - distances
    return _without(contributions.clamp_(min=0), unseen)


def l2_contributions(parts: Parts, whole: Tensor) -> Tensor:
    """The same by L2 lengths, from inner products alone; n²·d multiplications.

    ‖y‖ − ‖y − T‖ = (2 y·T − ‖T‖²) / (‖y‖ + ‖y − T‖),   y_i·T_i(x_j) = gain_i Σ_h α^h_ij (W^h y_i)·v^h_j
    """
    read = torch.einsum("...id,hcd->...hic", whole, parts.weight)
    read = read if parts.gate is None else read * parts.gate
    products = ((read @ parts.value.mT) * parts.attention).sum(-3)
    if parts.gain is not None:
        products *= parts.gain
    if parts.apart and parts.own is not None:
        products = pad(products, (0, 1))
    own, size = parts.diagonal(), whole.norm(dim=-1, keepdim=True)
    grown = 2 * products - parts.lengths().square()
    _put_own(grown, ((2 * whole - own) * own).sum(-1), parts)
    distances = (size.square() - grown).clamp_(min=0).sqrt_()
    _put_own(distances, (whole - own).norm(dim=-1), parts)
    scale = size + distances
    contributions = torch.where(scale > 0, grown / scale, torch.zeros_like(grown))
    return _of_seen_tokens(contributions.clamp_(min=0), parts)


def _put_own(maps: Tensor, numbers: Tensor, parts: Parts) -> None:
    """Write what belongs to each row's own part: on the diagonal, or in the column of a residual that stands apart."""
    if not parts.apart:
        maps.diagonal(parts.first, dim1=-2, dim2=-1).copy_(numbers)
    elif parts.own is not None:
        maps[..., -1] = numbers


def _gated(parts: Parts, whole: Tensor) -> Tensor:
    """‖y_i‖₁ − ‖y_i − T_i(x_j)‖₁ where heads pass a gate, (..., query, key); no residual that stands apart."""
    n_queries, n_keys = parts.attention.shape[-2:]
    wholes = whole.reshape(-1, *whole.shape[-2:])
    gains = None if parts.gain is None else parts.gain.reshape(-1, n_queries, 1)
    found = whole.new_zeros(len(wholes), n_queries, n_keys)
    for number, heads in enumerate(parts.gated()):
        for keys, queries, vectors in heads.blocks():
            vectors = vectors if gains is None else vectors * gains[number, queries]
            lost = (wholes[number, queries] - vectors).abs().sum(-1)
            found[number, queries, keys] = (wholes[number, queries].abs().sum(-1) - lost).T
    own = parts.diagonal().reshape(wholes.shape) if parts.own is not None else None
    if own is not None:
        found.diagonal(parts.first, dim1=-2, dim2=-1).copy_(wholes.abs().sum(-1) - (wholes - own).abs().sum(-1))
    return found.view(*whole.shape[:-1], n_keys)


def _of_seen_tokens(contributions: Tensor, parts: Parts) -> Tensor:
    """Without what rounding leaves to tokens without any weight: in a causal model, to later ones."""
    return _without(contributions, _unseen(parts))


def _without(contributions: Tensor, unseen: Tensor) -> Tensor:
    """Nothing where a token is unseen; a residual that stands apart is one more column, and always seen."""
    return contributions.masked_fill_(pad(unseen, (0, contributions.shape[-1] - unseen.shape[-1])), 0)


def _unseen(parts: Parts) -> Tensor:
    """Which rows give which tokens no weight in any head, (..., query, key); a row's own token counts as seen."""
    unseen = parts.attention.select(-3, 0).eq(0)
    for head in range(1, parts.attention.shape[-3]):  # planes of one head: a fifth of the time of all at once
        unseen &= parts.attention.select(-3, head).eq(0)
    if not parts.apart:
        unseen.diagonal(parts.first, dim1=-2, dim2=-1).zero_()
    return unseen
