"""Notice a run that says nothing, and find one that does: where all tokens read the same, any module looks like any.

Embeddings may be zero, too small for any digit, or the same for every token; a model that is about to be trained, or
that lost its weights, has such ones. Zeros equal zeros, whoever wrote them, so modules would be taken for others. A
model reads noise as well as its embeddings, and its parts are the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.tracing.discovery.diary import Attended, Call, Diary
from contextmix.tracing.discovery.mixers import heard_diary
from contextmix.tracing.recording.mixing.watch import unwatch

_SAME = 1e-3
"""Tokens whose values differ by less, beside the largest number, leave too few digits to compare tensors by."""


def telling(
    model: PreTrainedModel, probe: Mapping[str, Tensor], diary: Diary, *, decoder: bool = False
) -> tuple[Diary, Mapping[str, Tensor]]:
    """The diary of a probe, or of noise in the place of its embeddings where that diary is flat; and what was read.

    Args:
        model: The model, or the half of one, that reads the probe.
        probe: Model inputs with a batch axis.
        diary: Of a run on the probe.
        decoder: Whether the ids of the probe are those of a decoder.

    Raises:
        UnsupportedModel: If the diary is flat, and the model takes nothing in the place of embeddings.
    """
    if not is_flat(diary):
        return diary, probe
    noise = noise_for_ids(model, probe, decoder=decoder)
    unwatch(model)  # where all numbers are the same, any product looks like any
    return heard_diary(model, noise), noise


def is_flat(diary: Diary) -> bool:
    """Whether what the first block makes of its tokens is the same for all of them, or as good as zero."""
    if not diary.attended:
        return False
    moment = diary.attended[0]
    return _is_nothing(_entered(diary, moment)) or _is_one_row(moment.value)


def _entered(diary: Diary, moment: Attended) -> Tensor:
    first: Call | None = next(diary.around(moment), None)
    return moment.value if first is None else first.read


def _is_nothing(states: Tensor) -> bool:
    limits = torch.finfo(states.dtype)
    return float(states.abs().max()) < limits.tiny / limits.eps


def _is_one_row(states: Tensor) -> bool:
    if states.shape[-2] < 2:  # one token is like no other
        return _is_nothing(states)
    apart = (states - states.mean(-2, keepdim=True)).abs().max()
    return _is_nothing(states) or bool(apart <= _SAME * states.abs().max())


def noise_for_ids(model: PreTrainedModel, probe: Mapping[str, Tensor], *, decoder: bool = False) -> dict[str, Tensor]:
    """A probe that reads noise in the place of the embeddings of its token ids, the same on every call.

    Raises:
        UnsupportedModel: If the model takes nothing in the place of embeddings.
    """
    own: Any = model
    reads = own.get_decoder() if decoder else own
    prefix = "decoder_" if decoder else ""
    ids, name = f"{prefix}input_ids", f"{prefix}inputs_embeds"
    width = getattr(reads.get_input_embeddings(), "embedding_dim", None) if ids in probe else None
    if width is None or name not in inspect.signature(model.forward).parameters:
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}): on a short probe its first block makes the same of "
            "every token, or zeros: its embeddings are zero, constant, or too small for a number to have digits. Its "
            "modules are found by what they read and write, and here they all write the same. No number was produced. "
            "Check that its weights were loaded, or pass a hand-written anatomy=… to contextmix.load."
        )
    dtype = torch.promote_types(model.dtype, torch.float32)
    noise = torch.randn(*probe[ids].shape, width, generator=torch.Generator().manual_seed(0))
    return {key: value for key, value in probe.items() if key != ids} | {name: noise.to(probe[ids].device, dtype)}
