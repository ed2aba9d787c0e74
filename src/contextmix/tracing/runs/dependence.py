"""Which tokens of an answer depend on the context: what the model says with it, against what it says without.

Source:
    Sarti et al. (2024), "Quantifying the Plausibility of Context Reliance in Neural Machine Translation" (PECoRe), its
    first step with the KL divergence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import NotFinite
from contextmix.maths.divergence import kl_divergence
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.quiet import quiet_run


def dependence(
    model: PreTrainedModel, scores: Tensor, without: Sequence[int], answer: Sequence[int]
) -> tuple[float, ...]:
    """For each token of an answer the KL divergence of its distribution with the context from that without.

    One run of the model, of which the logits of the answer alone are kept.

    Args:
        model: A causal language model.
        scores: The logits with the context, at the rows that say the answer, (token, class).
        without: The ids of the prompt without its context.
        answer: The ids of the answer.

    Returns:
        In nats, 0 or more.

    Raises:
        NotFinite: If one has no bound.
    """
    found = kl_divergence(scores, _said(model, without, answer))
    if not bool(found.isfinite().all()):
        raise NotFinite(
            f"{type(model).__name__} rules out without its context what it says with it (a logit is minus infinity), "
            "so a divergence is infinite and says nothing of how far. Leave dependence out."
        )
    return tuple(found.tolist())


def _said(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """The logits at the rows that say the answer."""
    ids = torch.tensor([[*prompt, *answer[:-1]]], device=device_of(model))
    found: Tensor = quiet_run(model, {"input_ids": ids}, last_logits=len(answer)).logits[0, -len(answer) :]
    return found
