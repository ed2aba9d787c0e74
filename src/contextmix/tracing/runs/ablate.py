"""Run a causal model on one prompt and answer again and again, with parts of the prompt taken away.

*Masked*: nobody sees the removed tokens, in no layer, and the others keep their positions. Dropping these tokens and
giving the others their old positions is the same and takes half the time, since a token that nobody reads says nothing;
so that is done, after one run of either kind has shown that they agree for this model. *Deleted*: other token ids,
whose positions are counted anew. *Zeroed*: all tokens are read, but the values of the removed ones are zero in every
layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import BadInput, NotFinite, UnsupportedModel
from contextmix.options.values import BATCH_TOKENS
from contextmix.traces.trace import Scores
from contextmix.tracing.discovery.mixers import ensure_heard
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.recording.turns import turn_of
from contextmix.tracing.recording.verify import tolerance

LOGITS_AT_ONCE = 2**26
"""Numbers of logits in one batch, 256 MiB in float32: of a large vocabulary they are the largest tensor."""
PAIRS_AT_ONCE = 2**26
"""Attention weights of one layer in one batch, where all of them are made."""
_WINDOWS = ("sliding_window", "attention_chunk_size")

Tick = Callable[[int], None]
"""Told how many more sequences were run."""


@dataclass(frozen=True)
class Variant:
    """One sequence to run: a prompt and the answer behind it.

    Attributes:
        ids: (n,): all tokens; the last ones are the answer.
        places: (n,): their positions; None: counted from 0.
        seen: (n,): False for tokens that attention passes over; None: all are seen.
    """

    ids: Tensor
    places: Tensor | None = None
    seen: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)


def answer_log_probs(
    model: PreTrainedModel,
    variants: Sequence[Variant],
    answer: int,
    *,
    batch_tokens: int = BATCH_TOKENS,
    tick: Tick | None = None,
) -> Tensor:
    """log p of each token of the answer, in every variant; no gradients.

    Args:
        model: A causal language model.
        variants: At least one token stands before the answer in each.
        answer: How many tokens at the end of each variant are the answer.
        batch_tokens: How many tokens run together at most; one variant always runs. Shorter ones are padded on the left
            where the model can be told positions and what to pass over, unless it computes in float64; elsewhere only
            equal lengths run together.
        tick: Told of each batch.

    Returns:
        (variant, answer token), float64, on the CPU. A probability that is 1 to the last bit of float32 still has a
        log-probability below zero: it is taken from the odds.

    Raises:
        BadInput: If no token stands before an answer.
        NotFinite: If the model's scores are NaN or infinite.
    """
    if any(len(one) <= answer for one in variants):
        raise BadInput("A prompt with nothing left before the answer cannot be run: keep a start token or a question.")
    found = torch.empty(len(variants), answer, dtype=torch.float64)
    with turn_of(model):
        for rows in _batches(variants, batch_tokens, _most(model, answer), _pads(model)):
            found[rows] = _run(model, [variants[row] for row in rows], answer)
            if tick is not None:
                tick(len(rows))
    return _finite(found)


def masked(ids: Tensor, kept: Tensor, *, drop: bool) -> list[Variant]:
    """The variants in which only some tokens are seen, all at their own positions.

    Args:
        ids: (n,).
        kept: (variant, n), True for tokens that are seen; the answer is kept.
        drop: Leave the others out instead of passing over them.
    """
    places = torch.arange(len(ids))
    if drop:
        return [Variant(ids[row], places[row]) for row in kept]
    firsts = [int(row.int().argmax()) for row in kept]  # what stands before the first that is kept sees nothing at all
    return [Variant(ids[first:], places[first:], row[first:]) for first, row in zip(firsts, kept, strict=True)]


def drops(model: PreTrainedModel, ids: Tensor, kept: Tensor, answer: int) -> bool:
    """Whether tokens that are not kept may be left out, since the model says the same as if it passed over them.

    Args:
        model: A causal language model.
        ids: (n,).
        kept: (n,): one example, in which a token is missing; it is run both ways.
        answer: How many tokens at the end are the answer.

    Raises:
        UnsupportedModel: If the model cannot be told positions, or what to pass over; or if both runs differ, so that
            more than attention carries what a token says (a convolution, a state).
    """
    _refuse_unplaced(model)
    windows = (getattr(model.config.get_text_config(), name, None) for name in _WINDOWS)
    if any(isinstance(window, int) and len(ids) > window for window in windows):
        return False  # windows are counted over the tokens that are there
    short, whole = (answer_log_probs(model, masked(ids, kept[None], drop=drop), answer)[0] for drop in (True, False))
    allowed = 10 * tolerance(model.dtype) * max(1.0, float(whole.abs().max()))
    if float((short - whole).abs().max()) > allowed:
        raise UnsupportedModel(
            f"{type(model).__name__} says something else without tokens than when attention passes over them (by "
            f"{float((short - whole).abs().max()):.2g} nats): something other than attention carries them on, so "
            'masking them does not take them away. Use away="deleted".'
        )
    return True


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
    ensure_heard(model, {"input_ids": ids[None].to(model.device)})
    heads = model.config.get_text_config().num_attention_heads
    step = min(batch_tokens // len(ids), PAIRS_AT_ONCE // (heads * len(ids) ** 2), _most(model, answer))
    parts = []
    for rows in torch.split(kept, max(1, step)):
        editor = _ZeroValues(rows[:, :-1])
        with tapped(model, editor):
            parts.append(_run(model, [Variant(ids)] * len(rows), answer))
        if not editor.calls:
            raise UnsupportedModel(
                f"{type(model).__name__} called no attention of transformers' registry, so there are no values to set "
                'to zero. Use source_occlusion with away="deleted".'
            )
        if tick is not None:
            tick(len(rows))
    return _finite(torch.cat(parts))


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


def _run(model: PreTrainedModel, variants: Sequence[Variant], answer: int) -> Tensor:
    """One batch. The last token of the answer need not be read: it says nothing about itself."""
    longest = max(map(len, variants)) - 1
    ids, places, seen = (torch.zeros(len(variants), longest, dtype=torch.long) for _ in range(3))
    for row, one in enumerate(variants):
        own = slice(longest - len(one) + 1, None)
        ids[row, own] = one.ids[:-1].cpu()
        places[row, own] = torch.arange(len(one) - 1) if one.places is None else one.places[:-1].cpu()
        seen[row, own] = 1 if one.seen is None else one.seen[:-1].long().cpu()
    tensors = {"input_ids": ids}
    if _placed(model):  # a mask also where nothing is masked: without one, gaps of positions are new documents
        tensors |= {"position_ids": places, "attention_mask": seen}
    elif any(one.places is not None or one.seen is not None for one in variants):
        _refuse_unplaced(model)
    here = {name: value.to(model.device) for name, value in tensors.items()}
    logits = quiet_run(model, here, last_logits=answer).logits[:, -answer:]
    return torch.stack([_log_probs(scores, one.ids[-answer:]) for scores, one in zip(logits, variants, strict=True)])


def _log_probs(logits: Tensor, said: Tensor) -> Tensor:
    """log σ(z_y − log Σ_{w≠y} exp z_w), of logits (token, vocabulary): exact where p rounds to 1."""
    said = said.to(logits.device)[:, None]
    scores = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    own = scores.gather(-1, said)[:, 0]
    others = scores.scatter(-1, said, -torch.inf).logsumexp(-1)
    return nn.functional.logsigmoid((own - others).double()).cpu()


def _most(model: PreTrainedModel, answer: int) -> int:
    """How many variants run together at most, so that their logits stay small."""
    size: int = model.get_output_embeddings().weight.shape[0]  # type: ignore[no-untyped-call]
    return max(1, LOGITS_AT_ONCE // (answer * size))


def _finite(found: Tensor) -> Tensor:
    if not bool(found.isfinite().all()):
        raise NotFinite(
            "A log-probability of the answer is NaN or infinite, so every number made of it would be wrong. Half "
            "precision overflows easily: load the model in float32."
        )
    return found


def _batches(variants: Sequence[Variant], batch_tokens: int, most: int, pads: bool) -> Iterator[list[int]]:
    """Rows of variants that run together, short ones with short ones."""
    batch: list[int] = []
    for row in sorted(range(len(variants)), key=lambda row: len(variants[row])):
        length = len(variants[row])
        full = len(batch) >= most or (len(batch) + 1) * length > batch_tokens
        if batch and (full or (not pads and length != len(variants[batch[0]]))):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _pads(model: PreTrainedModel) -> bool:
    """Whether shorter ones may be padded: in float64 a row of padding is NaN, as eager softmax is taken in float32."""
    return _placed(model) and model.dtype != torch.float64


def _placed(model: PreTrainedModel) -> bool:
    """Whether a model is told positions and what to pass over, and counts distances by the positions it is told."""
    accepted = inspect.signature(model.forward).parameters
    by_distance = getattr(model.config.get_text_config(), "alibi", False)
    return {"position_ids", "attention_mask"} <= accepted.keys() and not by_distance


def _refuse_unplaced(model: PreTrainedModel) -> None:
    if not _placed(model):
        raise UnsupportedModel(
            f"{type(model).__name__} cannot be told the positions of its tokens, so none can be passed over with the "
            'others where they were. Use away="deleted".'
        )
