"""The residual stream of one block, split by the token that it came from, without ever building the vectors.

After attention, row i is a sum of one vector per source token j,

    u[i, j] = gain[i] · Σ_h attention[h, i, j] · value[h, j] @ weight[h]  +  1[i = j] · own[i]

and every later step that GlobEnc looks at (residual, norms with frozen denominators) is linear in u up to one number
per row. So the steps act on `weight`, `gain` and `own`, which are small, and lengths follow from one H×H Gram matrix
per source token: ‖Σ_h a_h F_h‖² = aᵀ(F Fᵀ)a. No tensor with (query, key, d_model) exists at any time.

Where the heads' output passes a gate that differs between channels, F depends on the row, and `maths.gated` takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from contextmix.maths.channels import channel_lengths
from contextmix.maths.gated import GatedHeads, gated_heads
from contextmix.maths.grams import Grams, gram_matrices
from contextmix.maths.kept import kept
from contextmix.maths.norms import Norm, denominator, frozen, linear
from contextmix.maths.pushed import Pushed, Steps
from contextmix.maths.quadratic import quadratic_forms
from contextmix.maths.shapes import by_shapes


@dataclass(frozen=True)
class Parts:
    """Rows as sums over source tokens; see the module docstring for the formula.

    Attributes:
        attention: (..., head, query, key), weights after softmax.
        value: (..., head, key, d_head), with the value bias, grouped keys repeated.
        weight: (head, d_head, d_model): the output projection and all linear maps after it.
        whole: (..., query, d_model): Σ_j u[i, j], known exactly from the model's own activations; or what computes it,
            since only mixing ratios ask for it.
        gain: (..., query, 1) or None for ones: what the attention part of each row is multiplied by.
        own: (..., query, d_model) or None: the residual, which belongs to the row's own token.
        apart: Whether the keys are tokens of another sequence, so that the residual is no part of any of theirs but one
            by itself: the last column of a map.
        gate: (..., head, query, d_head) or None for ones: what each channel of the heads' output is multiplied by
            before ``weight``.
        pushed: Keeps what ``weight`` becomes behind norms from one run to the next; None to make it anew.
        steps: What ``weight`` was pushed through so far.
        shared: Whether every token sends the same per unit of attention: of channels, whose values are numbers, they
            are in ``attention`` already, and ``value`` is one.
        first: Which key is the first row's own token; that of row i is ``first + i``.
        grams: Of the whole sequence, where the rows are a block of it; None to make what these parts need.
    """

    __repr__ = by_shapes

    attention: Tensor
    value: Tensor
    weight: Tensor
    whole: Tensor | Callable[[], Tensor]
    gain: Tensor | None = None
    own: Tensor | None = None
    apart: bool = False
    gate: Tensor | None = None
    shared: bool = False
    pushed: Pushed | None = None
    steps: Steps = ()
    first: int = 0
    grams: Grams | None = None

    @classmethod
    def of_channels(cls, maps: Tensor, value: Tensor, weight: Tensor, whole: Tensor, first: int = 0) -> Parts:
        """Of a mixer with a map for each channel: maps (..., channel, query, key) and values (..., channel, key, 1)."""
        return cls(
            maps * value.mT, torch.ones_like(value[:1, :1]).expand_as(value), weight, whole, shared=True, first=first
        )

    @kept
    def total(self) -> Tensor:
        """Σ_j u[i, j], (..., query, d_model)."""
        return self.whole if isinstance(self.whole, Tensor) else self.whole()

    def scaled(self, scale: float | Tensor) -> Parts:
        """Every part times a number or a vector over d_model."""
        if isinstance(scale, float) and scale == 1.0:
            return self
        own = None if self.own is None else self.own * scale
        factor = scale if isinstance(scale, float) else None
        made = self._next(factor, lambda: self.weight * scale)
        return replace(self, **made, whole=lambda: self.total * scale, own=own)

    def plus_residual(self, residual: Tensor) -> Parts:
        """The residual stream (..., query, d_model) added, as a part of each row's own token."""
        own = residual if self.own is None else self.own + residual
        return replace(self, whole=lambda: self.total + residual, own=own)

    def through(self, norm: Norm | None, full: Tensor) -> Parts:
        """Every part pushed through a norm whose denominator is that of the true row ``full`` (..., query, d_model)."""
        if norm is None:
            return self
        inverse = denominator(full, norm).reciprocal()
        return replace(
            self,
            **self._next(norm, lambda: linear(self.weight, norm)),
            whole=lambda: frozen(self.total, norm, inverse),
            gain=inverse if self.gain is None else self.gain * inverse,
            own=None if self.own is None else frozen(self.own, norm, inverse),
        )

    def _next(self, through: Norm | float | None, make: Callable[[], Tensor]) -> dict[str, Any]:
        """The weight behind one more step, kept or made."""
        keeper = self.pushed
        steps = None if keeper is None or through is None else keeper.next_steps(self.weight, self.steps, through)
        if keeper is None or steps is None:
            return {"weight": make().contiguous(), "pushed": None, "steps": ()}  # as one that is kept, to the last bit
        return {"weight": keeper.get(steps, make), "pushed": keeper, "steps": steps}

    def gated(self) -> list[GatedHeads]:
        """The heads of each sequence of a batch where they pass a gate; neither `gain` nor `own` is in them."""
        return [] if self.gate is None else list(gated_heads(self.attention, self.value, self.gate, self.weight))

    def sources(self) -> Tensor:
        """F[j, h] = value[h, j] @ weight[h], shape (..., key, head, d_model); only where there is no gate."""
        assert self.gate is None  # what a token sends depends on the row
        if self.shared:
            return self.weight[:, 0].expand(*self.value.shape[:-3], self.value.shape[-2], -1, -1)
        return torch.einsum("...hjc,hcd->...jhd", self.value, self.weight)

    def diagonal(self) -> Tensor:
        """What each row draws from its own token, u[i, i], as vectors, shape (..., query, d_model)."""
        if self.apart:
            return torch.zeros_like(self.total) if self.own is None else self.own
        weights = self.attention.diagonal(self.first, dim1=-2, dim2=-1).unsqueeze(-1)  # (..., head, query, 1)
        value = self.value.narrow(-2, self.first, weights.shape[-2])
        drawn = weights * value if self.gate is None else weights * value * self.gate
        joined = drawn.transpose(-3, -2).flatten(-2)  # (..., query, head · d_head)
        vectors = joined @ self.weight.flatten(0, 1)
        if self.gain is not None:
            vectors = vectors * self.gain
        return vectors if self.own is None else vectors + self.own

    def gram(self) -> tuple[Tensor, Tensor | None]:
        """F Fᵀ for every source token, (..., key, head, head), and what each token sends itself, (..., key, d_model).

        Tokens of another sequence send nothing to themselves.
        """
        value = self.value.movedim(-3, 0)
        n_heads, *tokens, d_head = value.shape
        shares = None
        if not self.apart:
            shares = self.attention.diagonal(dim1=-2, dim2=-1).movedim(-2, -1).contiguous().view(-1, 1, n_heads)
        gram, kept = gram_matrices(value.reshape(n_heads, -1, d_head), self.weight, shares)
        return gram.reshape(*tokens, n_heads, n_heads), None if kept is None else kept.reshape(*tokens, -1)

    def lengths(self) -> Tensor:
        """‖u[i, j]‖₂ for all pairs, by the Gram identity.

        Returns:
            (..., query, key), ≥ 0, in units of the residual stream; with one more column for a residual that stands
            apart.

        Source:
            Kobayashi et al. (2020, 2021) and GlobEnc define the lengths; the identity is ours and exact. Cost per layer
            n·d² + n·H²·d + n²·H² multiplications and n²·H memory, instead of n²·H·d of both.
        """
        if self.gate is not None:
            return self._gated_lengths()
        if self.shared:
            return self._shared_lengths()
        some = not self.apart and self.attention.shape[-2] != self.attention.shape[-1]  # a block may begin at row 0
        if self.grams is not None or self.first or some:
            return self._lengths_by(self.grams or Grams(self.value))
        gram, kept = self.gram()
        lengths = quadratic_forms(self.attention, gram).clamp_(min=0).sqrt_()
        if self.gain is not None:
            lengths *= self.gain
        if self.own is not None and kept is None:
            return torch.cat([lengths, self.own.norm(dim=-1, keepdim=True)], dim=-1)
        if self.own is not None and kept is not None:
            kept = self.own + kept if self.gain is None else torch.addcmul(self.own, kept, self.gain)
            lengths.diagonal(dim1=-2, dim2=-1).copy_(kept.norm(dim=-1))
        return lengths

    def _lengths_by(self, grams: Grams) -> Tensor:
        """The same by Gram matrices that all blocks of rows share."""
        lengths = quadratic_forms(self.attention, grams.of(self.weight)).clamp_(min=0).sqrt_()
        if self.gain is not None:
            lengths *= self.gain
        if self.own is not None:
            lengths.diagonal(self.first, dim1=-2, dim2=-1).copy_(self.diagonal().norm(dim=-1))
        return lengths

    def _gated_lengths(self) -> Tensor:
        """The same behind a gate, n²·H·d_head·d_model."""
        lengths = torch.stack([one.lengths() for one in self.gated()]).view_as(self.attention[..., 0, :, :])
        if self.gain is not None:
            lengths *= self.gain
        if self.own is not None and self.apart:
            return torch.cat([lengths, self.own.norm(dim=-1, keepdim=True)], dim=-1)
        if self.own is not None:
            lengths.diagonal(self.first, dim1=-2, dim2=-1).copy_(self.diagonal().norm(dim=-1))
        return lengths

    def _shared_lengths(self) -> Tensor:
        """The same where there are as many heads as channels, and a Gram matrix would be larger than what it saves."""
        lengths = channel_lengths(self.attention, self.weight[:, 0])
        if self.gain is not None:
            lengths *= self.gain
        if self.own is not None:
            lengths.diagonal(self.first, dim1=-2, dim2=-1).copy_(self.diagonal().norm(dim=-1))
        return lengths

    def lengths_per_head(self) -> Tensor:
        """‖gain[i] · attention[h, i, j] · value[h, j] @ weight[h]‖₂, shape (..., head, query, key); no residual."""
        if self.gate is not None:
            found = torch.stack([one.lengths_per_head() for one in self.gated()]).view_as(self.attention)
            return found if self.gain is None else found * self.gain.unsqueeze(-3)
        if self.shared:
            own: Tensor = self.attention.abs() * self.weight[:, 0].norm(dim=-1)[:, None, None]
            return own if self.gain is None else own * self.gain.unsqueeze(-3)
        weights = self.attention.abs()  # where a factor of the heads' output is part of them they may be negative
        lengths: Tensor = weights * self.sources().norm(dim=-1).transpose(-1, -2).unsqueeze(-2)
        return lengths if self.gain is None else lengths * self.gain.unsqueeze(-3)

    def mixing_ratio(self) -> Tensor:
        """How much of each row comes from other tokens.

            r_i = ‖Σ_{j≠i} u[i, j]‖ / (‖Σ_{j≠i} u[i, j]‖ + ‖u[i, i]‖)

        Returns:
            (..., query), between 0 and 1; 0 where the row holds nothing at all.

        Source:
            Kobayashi et al. (2021), eq. 8: the length of the *sum* of the other parts, not the sum of lengths.
        """
        own = self.diagonal()
        mixed, kept = (self.total - own).norm(dim=-1), own.norm(dim=-1)
        return torch.where(mixed > 0, mixed / (mixed + kept), torch.zeros_like(mixed))
