"""Layers beside the blocks that read one token at a time: a feed-forward part that is a layer of its own."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from contextmix.tracing.discovery.diary import Call
from contextmix.tracing.discovery.other_token import same_elsewhere, with_other_token
from contextmix.tracing.recording.replay import BlockReplay
from contextmix.tracing.recording.verify import float32_tolerance


def is_local(model: PreTrainedModel, call: Call) -> bool:
    """Whether a layer maps each token by itself: it runs again with one token changed, and no other may move."""
    if call.read.shape != call.wrote.shape or call.read.ndim != 3:
        return False
    token, changed = with_other_token(call.read)
    try:
        with torch.no_grad():
            wrote = BlockReplay.of(model, call.module, call.args, call.kwargs)(changed).to(call.wrote.dtype)
    except Exception:  # whatever a model raises: what does not run by itself is not known to be local
        return False
    return same_elsewhere(wrote, call.wrote, token, float32_tolerance(call.wrote.dtype))
