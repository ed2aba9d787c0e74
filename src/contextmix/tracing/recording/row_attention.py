"""The attention weights of some rows, from what a fused attention was given: the whole map is never made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from contextmix.maths.kept import kept

BLOCK = 64
"""Rows of a model's eager attention that are made at a time."""
FUSED = "sdpa"
"""The attention whose masks are known here: a tensor (batch, 1, query, key), or none at all."""

PLACES = ("position_ids", "cache_position")
"""What is told of tokens, not of keys: queries and keys have been turned by it, and no eager attention reads it."""

SHORT = 64
"""Keys of the probe that shows whether attention is a softmax of products."""
STRETCHED = 50.0
"""The largest score of its second half."""
SAME = 1e-5
"""By how much two weights may differ there."""


def _of_rows(told: Any, rows: slice, n_queries: int, n_keys: int) -> Any:
    """What is said of every pair of tokens (a position bias), for these rows alone."""
    paired = isinstance(told, Tensor) and told.ndim >= 2 and told.shape[-2:] == (n_queries, n_keys)
    return told[..., rows, :] if paired else told


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of true and false as what eager attention adds to its scores."""
    if mask.dtype is not torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _looking_back(rows: slice, query: Tensor, key: Tensor) -> Tensor:
    """What a fused attention without a mask hides from these rows: what stands after them."""
    places = torch.arange(query.shape[2], device=query.device)[rows, None]
    seen = torch.arange(key.shape[2], device=query.device) <= places
    return _added(seen[None, None], query.dtype)


@dataclass(frozen=True)
class Attending:
    """One call of attention, with all that its weights are made of, so that those of any rows can be made again.

    Attributes:
        eager: The model's own eager attention.
        module: The attention module.
        query: (batch, head, query, d_head).
        key: (batch, key-value head, key, d_head).
        value: The same.
        mask: What hides keys: true and false, or added to the scores, (batch, 1, query, key); None for none, or for
            causality alone.
        told: Further arguments.
    """

    eager: Callable[..., tuple[Tensor, Tensor]]
    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    told: Mapping[str, Any]

    @property
    def causal(self) -> bool:
        """Whether a call without a mask hides what stands behind each token."""
        told = self.told.get("is_causal")
        return bool(getattr(self.module, "is_causal", True) if told is None else told)

    def attended(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Output (batch, row, head, d_head) and weights (batch, head, row, key) of the model's own eager attention.

        Whether they are those of a fused attention is not taken on trust: the recorder compares the weights times the
        values, through the output projection, with what the model made of the fused attention's output.

        Args:
            rows: Neighbouring queries.
        """
        own = {name: _of_rows(one, rows, self.query.shape[2], self.key.shape[2]) for name, one in self.told.items()}
        seen = None if self.mask is None else _added(self.mask[..., rows, :], self.query.dtype)
        if self.mask is None and self.causal and self.query.shape[2] > 1:
            seen = _looking_back(rows, self.query, self.key)
        return self.eager(self.module, self.query[:, :, rows], self.key, self.value, seen, **own)

    def seen(self, rows: slice) -> slice:
        """Neighbouring keys outside of which these rows see nothing, their own tokens among them; all if unsure."""
        n_keys = self.key.shape[2]
        everything, mask = slice(0, n_keys), self.mask
        others = [
            one
            for name, one in self.told.items()
            if isinstance(one, Tensor) and one.shape[-1:] == (n_keys,) and name not in PLACES
        ]
        if any(one.ndim < 2 or one.shape[-2] != self.query.shape[2] for one in others):
            return everything  # it says something of keys that cannot be cut
        if mask is None:
            return slice(0, rows.stop) if self.causal else everything
        own = mask[..., rows, :]
        shown = own if own.dtype is torch.bool else own > torch.finfo(own.dtype).min / 2
        if not bool(shown.any(-1).all()):
            return everything  # eager attention gives a row that sees nothing to all keys alike
        places = shown.flatten(0, -2).any(0).nonzero()
        return slice(min(int(places[0]), rows.start), max(int(places[-1]) + 1, rows.stop))

    def weights(self, rows: slice, keys: slice) -> Tensor:
        """The weights of some rows over the keys that they see, (batch, head, row, key)."""
        return self._products(rows, keys) if self.plain else self.eager_weights(rows, keys)

    def eager_weights(self, rows: slice, keys: slice) -> Tensor:
        """The same by the model's own eager attention, whatever it does."""
        return self._attend(rows, keys, slice(0))[1]  # the sum of the values, half as dear, is not asked for

    @kept
    def plain(self) -> bool:
        """Whether the weights are softmax(scaling · q kᵀ + mask), as far as two rows of a short part of the call show.

        They are compared with those of eager attention as they are, and with scores stretched to `STRETCHED`: a soft
        cap acts on large scores alone. In half precision the model rounds on the way, and eager attention stays.
        """
        paired = any(isinstance(one, Tensor) and one.is_floating_point() for one in self.told.values())
        if paired or self.query.dtype not in (torch.float32, torch.float64):
            return False
        stop = min(SHORT, self.query.shape[2])
        rows = slice(max(0, stop - 2), stop)
        keys = self.seen(rows)
        largest = self._scores(rows, keys).abs().amax().clamp_min(torch.finfo(self.query.dtype).tiny)
        calls = (self, replace(self, query=self.query * (STRETCHED / largest)))
        pairs = [(one._products(rows, keys), one.eager_weights(rows, keys)) for one in calls]
        return all(a.shape == b.shape and a.dtype == b.dtype and bool((a - b).abs().amax() <= SAME) for a, b in pairs)

    def _products(self, rows: slice, keys: slice) -> Tensor:
        """The weights of a call that is `plain`: keys that heads share are not repeated, values not summed."""
        scores, first = self._scores(rows, keys), rows.start - keys.start
        if self.mask is not None:
            scores += _added(self.mask[..., rows, keys], scores.dtype)
        elif self.causal and self.query.shape[2] > 1:
            behind = scores[..., first:]  # no row hides what stands before the first of them
            behind.masked_fill_(behind.new_ones(behind.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        return scores.softmax(-1)

    def _scores(self, rows: slice, keys: slice) -> Tensor:
        scaling = self.told.get("scaling")
        query = self.query[:, :, rows] * (self.query.shape[-1] ** -0.5 if scaling is None else scaling)
        key = self.key[:, :, keys]
        scores: Tensor = query.reshape(*key.shape[:2], -1, key.shape[-1]) @ key.mT
        return scores.view(*query.shape[:3], key.shape[2])

    def double(self) -> Attending:
        """The same call in float64."""
        mask = self.mask.double() if self.mask is not None and self.mask.is_floating_point() else self.mask
        query, key, value = (one.double() for one in (self.query, self.key, self.value))
        return replace(self, query=query, key=key, value=value, mask=mask)

    def whole(self) -> Tensor:
        """What all rows draw by the model's own eager attention, (batch, query, head, d_head), a block at a time."""
        count = self.query.shape[2]
        blocks = (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))
        return torch.cat([self._attend(rows, self.seen(rows), slice(None))[0] for rows in blocks], 1)

    def _attend(self, rows: slice, keys: slice, channels: slice) -> tuple[Tensor, Tensor]:
        pair = (self.query.shape[2], self.key.shape[2])
        told = {
            name: one[..., keys] if isinstance(one, Tensor) and one.ndim >= 2 and one.shape[-2:] == pair else one
            for name, one in self.told.items()
        }
        mask = None if self.mask is None else self.mask[..., keys]
        key, value = self.key[:, :, keys], self.value[:, :, keys, channels]
        return replace(self, key=key, value=value, mask=mask, told=told).attended(rows)


def by_itself(tensor: Tensor) -> Tensor:
    """The same numbers in memory of their own: a view keeps alive what it was cut from (a whole map, queries)."""
    cut = tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()
    return tensor.clone(memory_format=torch.contiguous_format) if cut else tensor
