"""Value Zeroing through more than one sub-layer: the changes that a zeroed value makes, pushed from one to the next.

In a decoder block of an encoder–decoder, cross-attention and the feed-forward part both read what self-attention left.
Each of them answers to the change of the residual stream with a change of its own, which is added to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from contextmix.maths.differences import norm_change
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.norms import Norm

CHANGE_ELEMENTS = 1 << 22
"""Numbers of changes that are worked on at a time: 16 MiB in float32."""


@dataclass(frozen=True)
class Addition:
    """How a sub-layer's raw output enters the residual stream; states (query, d_model), of one sequence.

    Attributes:
        out: Its clean raw output.
        norm_out: Norm on it before the addition.
        scale: Factor of it.
        total: The stream after the addition.
        norm_after: Norm on the stream after the addition (post-norm).
    """

    out: Tensor
    norm_out: Norm | None
    scale: float | Tensor
    total: Tensor
    norm_after: Norm | None

    def change(self, stream: Tensor | None, raw: Tensor) -> Tensor:
        """The change of the stream after it, from those of the stream before it and of the raw output."""
        added = norm_change(self.out, raw, self.norm_out) * self.scale
        return norm_change(self.total, added if stream is None else stream + added, self.norm_after)


@dataclass(frozen=True)
class Step:
    """A sub-layer that reads the residual stream.

    Attributes:
        stream: (query, d_model): the clean stream in front of it.
        norm_in: Norm on it (pre-norm).
        answer: From the change of what it reads to the change of its raw output, both (..., query, d_model).
        addition: How its output enters the stream.
    """

    stream: Tensor
    norm_in: Norm | None
    answer: Callable[[Tensor], Tensor]
    addition: Addition

    def change(self, stream: Tensor) -> Tensor:
        """The change of the stream after it, from that of the stream before it."""
        return self.addition.change(stream, self.answer(norm_change(self.stream, stream, self.norm_in)))


def feed_forward_answer(ffn: FeedForward | Callable[[Tensor], Tensor], read: Tensor) -> Callable[[Tensor], Tensor]:
    """How a feed-forward part answers to changes of its clean input (query, d_model)."""
    if not isinstance(ffn, FeedForward):
        return lambda change: ffn(read + change) - ffn(read)
    before = ffn.before_activation(read)
    after = ffn.activation(before)
    return lambda change: (ffn.activation(before + change @ ffn.first) - after) @ ffn.second


def changes_through(
    attention: Tensor, sources: Tensor, addition: Addition, steps: Sequence[Step], width: int
) -> Iterator[tuple[slice, Tensor]]:
    """The change of each row after the last step, for one zeroed token after another.

    Args:
        attention: (head, query, key): weights of the heads that are zeroed.
        sources: (key, head, d_model): what each token sends per unit of attention.
        addition: How the attention output enters the stream.
        steps: The sub-layers that follow.
        width: Numbers per row that the widest of them needs.

    Yields:
        A slice of zeroed tokens and the changes (zeroed, query, d_model).
    """
    n_queries, n_keys = attention.shape[-2:]
    at_a_time = max(1, CHANGE_ELEMENTS // (n_queries * width))
    for start in range(0, n_keys, at_a_time):
        zeroed = slice(start, min(start + at_a_time, n_keys))
        raw = torch.bmm(-attention[:, :, zeroed].permute(2, 1, 0), sources[zeroed])
        change = addition.change(None, raw)
        for step in steps:
            change = step.change(change)
        yield zeroed, change
