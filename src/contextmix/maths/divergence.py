"""How far two distributions over a vocabulary are apart."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_divergence(scores: Tensor, others: Tensor) -> Tensor:
    """The Kullback–Leibler divergence of one softmax from another, in float64.

        KL(p ‖ q) = Σ_w p_w (log p_w − log q_w),  p = softmax(scores), q = softmax(others)

    Args:
        scores: Logits (..., class).
        others: Logits (..., class).

    Returns:
        (...), in nats; 0 where both say the same, and never below; infinite where q rules out what p says.

    Example:
        >>> import torch
        >>> kl_divergence(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 0.0]))
        tensor(0., dtype=torch.float64)
    """
    log_p, log_q = scores.double().log_softmax(-1), others.double().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).nan_to_num(nan=0.0, posinf=torch.inf).sum(-1).clamp(min=0)
