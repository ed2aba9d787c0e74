"""Evidence by hand: parts of a row through norms by definition, and what each logit counts in the log-odds of one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from contextmix.traces.trace import LayerTrace


def normed(vector: Tensor, norm: Any, full: Tensor) -> Tensor:
    """A part of a row through a norm, by the definition: the full row's denominator, no bias."""
    if norm is None:
        return vector
    weight = torch.ones_like(full) if norm.weight is None else norm.weight
    if norm.kind == "rms":
        return vector * weight / (sum(x * x for x in full) / len(full) + norm.eps).sqrt()
    mean = sum(full) / len(full)
    variance = sum((x - mean) ** 2 for x in full) / len(full)
    return (vector - sum(vector) / len(vector)) * weight / (variance + norm.eps).sqrt()


def to_the_end(part: Tensor, row: int, layers: Sequence[LayerTrace], number: int, *, of_attention: bool) -> Tensor:
    """What is left of something added in a block when the last block has passed it on: through every norm after it."""
    for later in layers[number:]:
        states, block = later.states, later.block
        if of_attention or later is not layers[number]:
            part = normed(part, block.attention.norm_after, states.attention_sum[row])
        part = normed(part, block.ffn.norm_after, states.ffn_sum[row])
    return part


def log_odds_weights(logits: Tensor, token: int) -> Tensor:
    """Derivative of log(p / (1 − p)) with every logit, by autograd."""
    logits = logits.detach().clone().requires_grad_()
    chance = logits.softmax(-1)[token]
    (chance.log() - (1 - chance).log()).backward()
    return logits.grad
