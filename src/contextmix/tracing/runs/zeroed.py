"""Run a causal model on one prompt and answer again and again, with the values of some tokens zero in every layer.

All tokens are read. Attention goes where it goes, and what it brings from these tokens is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.options.values import BATCH_TOKENS
from contextmix.traces.trace import Scores
from contextmix.tracing.discovery.mixers import ensure_heard
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.runs.ablate import Tick, Variant, finite, log_probs, most_at_once, placed, run_together
from contextmix.tracing.runs.prefixes import Steps, pays, walked

LOOKED_AT = 16
"""Tokens on which what mixes them is looked for."""
PAIRS_AT_ONCE = 2**26
"""Attention weights of one layer in one batch, where all of them are made."""


def zeroed_log_probs(
    model: PreTrainedModel,
    ids: Tensor,
    kept: Tensor,
    answer: int,
    *,
    batch_tokens: int = BATCH_TOKENS,
    tick: Tick | None = None,
) -> Tensor:
    """log p of each token of the answer with the values of some tokens zero, in all layers at once.

    Attention goes where it goes, and what it brings from these tokens is nothing: no key is masked, no weight is
    distributed anew.

    Args:
        model: A causal language model.
        ids: (n,): prompt and answer.
        kept: (variant, n), False for tokens whose values are zero.
        answer: How many tokens at the end are the answer.
        batch_tokens: As for `answer_log_probs`; attention weights bound a batch too.
        tick: Told of each batch.

    Returns:
        (variant, answer token), float64, on the CPU.

    Raises:
        UnsupportedModel: If attention does not pass through transformers' registry.
    """
    ensure_heard(model, {"input_ids": ids[None, :LOOKED_AT].to(device_of(model))})
    heads = getattr(model.config.get_text_config(), "num_attention_heads", 1)
    step = min(batch_tokens // len(ids), PAIRS_AT_ONCE // (heads * len(ids) ** 2), most_at_once(model, answer))
    batches = list(torch.split(torch.arange(len(kept)), max(1, step)))
    found = torch.empty(len(kept), answer, dtype=torch.float64)
    walk = _zeroed_walk(model, ids, kept, answer, batches) if placed(model) else None
    for rows, said in walk or ((rows.tolist(), _zeroed(model, ids, kept[rows], answer)) for rows in batches):
        found[rows] = said
        if tick is not None:
            tick(len(rows))
    return finite(found)


def _zeroed(model: PreTrainedModel, ids: Tensor, kept: Tensor, answer: int) -> Tensor:
    with _without(model, kept):
        return run_together(model, [Variant(ids)] * len(kept), answer)


def _zeroed_walk(
    model: PreTrainedModel, ids: Tensor, kept: Tensor, answer: int, batches: Sequence[Tensor]
) -> Iterator[tuple[list[int], Tensor]] | None:
    """See `_walked`: values in front of the first that is zero are what they were."""
    tokens = [torch.cat([Variant(ids).marks, row[:-1, None].long().cpu()], -1) for row in kept]
    if not pays(tokens, [rows.tolist() for rows in batches], answer, device_of(model)):
        return None
    steps = Steps(
        said=lambda number, logits: log_probs(logits, ids[-answer:]),
        plain=lambda number: _zeroed(model, ids, kept[number][None], answer)[0],
        around=lambda number: _without(model, kept[number][None]),
    )
    found = walked(model, tokens, steps, answer)
    return None if found is None else (([number], one[None]) for number, one in found)


@contextmanager
def _without(model: PreTrainedModel, kept: Tensor) -> Iterator[None]:
    """With the values of some tokens zero, (variant, n)."""
    editor = _ZeroValues(kept[:, :-1])
    with tapped(model, editor):
        yield
    if not editor.calls:
        raise UnsupportedModel(
            f"{type(model).__name__} called no attention of transformers' registry, so there are no values to set "
            'to zero. Use source_occlusion with away="deleted".'
        )


class _ZeroValues:
    """Sets the values of tokens to zero, other ones in each row of the batch; see `tap.ValueEditor`."""

    def __init__(self, kept: Tensor) -> None:
        self.kept, self.calls = kept, 0

    def edited(self, module: nn.Module, n_heads: int, value: Tensor) -> Tensor:
        self.calls += 1
        if value.shape[0] != len(self.kept) or value.shape[2] != self.kept.shape[1]:
            raise UnsupportedModel(
                f"{type(module).__name__} reads values of the shape {tuple(value.shape)}, and (batch, head, token, "
                f"d_head) with {tuple(self.kept.shape)} of batch and token was expected: they cannot be zeroed."
            )
        return value * self.kept[:, None, :, None].to(value.device, value.dtype)

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """Nothing is kept."""
