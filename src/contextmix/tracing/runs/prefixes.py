"""Sequences that begin alike, one after another: of each, only what follows the part that it shares with the last.

In order, like words in a dictionary, no beginning is read twice. Keys and values of the last sequence are kept in a
key-value cache of transformers, cut where the next one differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.quiet import cache_name, quiet_run
from contextmix.tracing.recording.verify import tolerance

_PER_CALL = {"cpu": 32}
"""What a call of a model costs beside its tokens, in tokens (measured 2026-11, 8 and 18 layers); elsewhere `_FAST`."""
_FAST = 2048
"""The same on an accelerator, which takes about as long for one short sequence as for a batch of them."""
_KEEPS_KEYS = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers that remember nothing of earlier tokens but their keys and values."""

_WINDOWS = ("sliding_window", "attention_chunk_size")

_proved: WeakKeyDictionary[PreTrainedModel, dict[tuple[str | None, bool, bool], bool]] = WeakKeyDictionary()
"""Whether a model goes on from a cache as it runs without: with this attention, with other values, beyond a window."""


@dataclass(frozen=True)
class Steps:
    """What is made of sequences, by their numbers.

    Attributes:
        said: A number and the logits (row, vocabulary) → what its answer says.
        plain: A number → the same from a run of all its tokens, without a cache.
        around: What it is run in, where that is not the model's own run.
    """

    said: Callable[[int, Tensor], Tensor]
    plain: Callable[[int], Tensor]
    around: Callable[[int], AbstractContextManager[None]] | None = None


def beyond_window(model: PreTrainedModel, length: int) -> bool:
    """Whether so many tokens are more than a window of the model holds."""
    windows = (getattr(model.config.get_text_config(), name, None) for name in _WINDOWS)
    return any(isinstance(window, int) and length > window for window in windows)


def in_order(tokens: Sequence[Tensor]) -> list[int]:
    """Which sequence comes when: those that begin alike are neighbours.

    Args:
        tokens: Of each sequence (n, mark): everything that a token tells those behind it, such as id and position.

    Example:
        >>> in_order([torch.tensor([[5], [1]]), torch.tensor([[3], [9]]), torch.tensor([[5], [0]])])
        [1, 2, 0]
    """
    return sorted(range(len(tokens)), key=lambda number: tokens[number].flatten().tolist())


def in_common(one: Tensor, other: Tensor) -> int:
    """How many tokens two sequences (n, mark) share at their beginning.

    Example:
        >>> in_common(torch.tensor([[5], [1], [2]]), torch.tensor([[5], [1], [3], [2]]))
        2
    """
    length = min(len(one), len(other))
    return int((one[:length] == other[:length]).all(-1).int().cumprod(0).sum())


def pays(tokens: Sequence[Tensor], batches: Sequence[Sequence[int]], answer: int, device: torch.device) -> bool:
    """Whether one after another costs less than in these batches, padded to their longest."""
    order, call = in_order(tokens), _PER_CALL.get(device.type, _FAST)
    together = sum(len(rows) * max(len(tokens[row]) for row in rows) + call for rows in batches)
    pairs = pairwise(order)
    shared = [min(in_common(tokens[one], tokens[other]), len(tokens[other]) - answer) for one, other in pairs]
    apart = sum(len(one) + call for one in tokens) - sum(shared)
    return max(shared, default=0) > 0 and apart < together


def goes_on(model: PreTrainedModel) -> bool:
    """Whether a model may be asked to go on from keys and values: no layer of it is known to remember anything else."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ()
    return cache_name(model) is not None and set(kinds) <= _KEEPS_KEYS and not getattr(model, "_is_stateful", False)


class Walk:
    """A model that reads one sequence after another.

    Args:
        model: A causal language model that is told positions and what to pass over.
        answer: How many of the last rows are wanted.
    """

    def __init__(self, model: PreTrainedModel, answer: int) -> None:
        self.model, self.answer = model, answer
        self.read = torch.zeros(0, 0)
        self.cache = DynamicCache()

    def shares(self, tokens: Tensor) -> int:
        """How many tokens are not read again."""
        return min(in_common(self.read, tokens), len(tokens) - self.answer) if len(self.read) else 0

    def logits(self, tokens: Tensor) -> Tensor:
        """Of the last rows, (row, vocabulary).

        Args:
            tokens: (n, mark): id, position, whether it is seen, and what else tells tokens apart.
        """
        shared, device = self.shares(tokens), device_of(self.model)
        ids, places, seen = (tokens[None, :, mark].to(device) for mark in range(3))
        self.cache = _cut(self.cache, shared)
        told = {"input_ids": ids[:, shared:], "position_ids": places[:, shared:], "attention_mask": seen}
        outputs = quiet_run(self.model, told, last_logits=self.answer, past=self.cache)
        self.read = tokens
        found: Tensor = outputs.logits[0, -self.answer :]
        return found


def _cut(cache: DynamicCache, length: int) -> DynamicCache:
    """The first keys and values of a cache, in one of their own."""
    if length == 0:
        return DynamicCache()
    pairs = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            raise TypeError("keys and values of a layer are not kept as they are, so they cannot be cut")
        pairs.append((layer.keys[:, :, :length], layer.values[:, :, :length]))
    return DynamicCache(pairs)


def walked(
    model: PreTrainedModel, tokens: Sequence[Tensor], steps: Steps, answer: int
) -> Iterator[tuple[int, Tensor]] | None:
    """What the answer of each sequence says, one after another; None where the model does not go on from a cache.

    The first sequence that goes on from another is run by itself too, once for each model.

    Args:
        model: See `Walk`.
        tokens: See `Walk.logits`; at least two of them begin alike.
        steps: What is made of them.
        answer: How many of the last rows are wanted.
    """
    order, walk, begun = in_order(tokens), Walk(model, answer), []
    beyond = beyond_window(model, max(map(len, tokens)))
    case = getattr(model.config, "_attn_implementation", None), steps.around is not None, beyond
    known = _proved.get(model, {}).get(case)
    if known is False or not goes_on(model):
        return None

    def step(number: int) -> tuple[int, Tensor]:
        with nullcontext() if steps.around is None else steps.around(number):
            return number, steps.said(number, walk.logits(tokens[number]))

    try:
        for number in order:
            shared = walk.shares(tokens[number])
            begun.append(step(number))
            if shared:
                break
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        known = False  # it cannot use such a cache
    if known is None:
        if beyond and not beyond_window(model, len(tokens[begun[-1][0]])):
            return None  # it would show nothing of what is beyond
        known = _same(begun[-1][1], steps.plain(begun[-1][0]), model.dtype)
    _proved.setdefault(model, {})[case] = known
    return _chained(begun, (step(number) for number in order[len(begun) :])) if known else None


def _chained(begun: list[tuple[int, Tensor]], more: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    yield from begun
    yield from more


def _same(found: Tensor, plain: Tensor, dtype: torch.dtype) -> bool:
    allowed = 10 * tolerance(dtype) * max(1.0, float(plain.abs().max()))
    return float((found - plain).abs().max()) <= allowed
