"""Lengths of what each token contributes to a block's output when the feed-forward part takes part too.

The activation is replaced by the line through the origin that meets it (`maths.lines`), so the part of token j in row
i is

    out[i, j] + g_i (θ_i ⊙ in[i, j] W₁) M,      M = W₂ pushed through the norms that follow

``out`` and ``in W₁`` are `Parts`: combinations of one vector per head and token. So W₁ is applied to n·H + n vectors
and only M to all n² pairs, for a few queries at a time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from contextmix.maths.gated import GatedHeads
from contextmix.maths.parts import Parts

CHUNK_ELEMENTS = 1 << 22
"""Numbers of vectors that exist at a time."""


def through_matrix(parts: Parts, matrix: Tensor) -> Parts:
    """Every part times a matrix (d_model, d_out)."""
    own = None if parts.own is None else parts.own @ matrix
    return replace(parts, weight=parts.weight @ matrix, whole=lambda: parts.total @ matrix, own=own)


def encoder_lengths(out: Parts, inner: Parts, slopes: Tensor, matrix: Tensor) -> Tensor:
    """‖out[i, j] + (slopes_i ⊙ inner[i, j]) @ matrix‖₂ of one sequence.

    Args:
        out: The parts of the block's output without the feed-forward part.
        inner: The parts of the activation's input.
        slopes: (query, d_ffn): θ_i, with what the norms divide row i by.
        matrix: (d_ffn, d_model): M.

    Returns:
        (query, key), ≥ 0. Cost: n²·d·d_ffn + n²·H·(d + d_ffn) multiplications; behind a gate n²·d·(d + d_ffn).
    """
    n = len(slopes)
    lengths = slopes.new_empty(n, n)
    step = max(1, CHUNK_ELEMENTS // (n * (matrix.shape[0] + 2 * matrix.shape[1])))
    sources, inner_sources = _sources(out), _sources(inner)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        moved = _vectors(inner, inner_sources, rows).mul_(slopes[rows]) @ matrix
        lengths[rows] = torch.linalg.vector_norm(moved.add_(_vectors(out, sources, rows)), dim=-1).T
    return lengths


def _sources(parts: Parts) -> Tensor | GatedHeads:
    """What tokens send: one vector per head and token, or behind a gate one per pair."""
    return parts.sources() if parts.gate is None else parts.gated()[0]


def _vectors(parts: Parts, sources: Tensor | GatedHeads, rows: slice) -> Tensor:
    """The parts of some queries as vectors, (key, query, d)."""
    if isinstance(sources, GatedHeads):
        vectors = sources.vectors(slice(None), rows)
    else:
        vectors = torch.bmm(parts.attention[:, rows].permute(2, 1, 0), sources)
    if parts.gain is not None:
        vectors *= parts.gain[rows]
    if parts.own is not None:
        vectors[rows].diagonal(dim1=0, dim2=1).add_(parts.own[rows].T)
    return vectors
