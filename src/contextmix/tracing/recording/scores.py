"""The scores that a model gives, whatever its head calls them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def scores_in(outputs: Any) -> Tensor | None:
    """All scores in the outputs of a model; None if it has no head that gives some.

    Args:
        outputs: Of any model. A head that looks for an answer gives two scores per token, in two tensors.

    Returns:
        (batch, class) for the whole input, or (batch, n, class) at each token.

    Example:
        >>> from types import SimpleNamespace
        >>> scores_in(SimpleNamespace(start_logits=torch.zeros(1, 5), end_logits=torch.ones(1, 5))).shape
        torch.Size([1, 5, 2])
    """
    logits = getattr(outputs, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    ends = [getattr(outputs, f"{name}_logits", None) for name in ENDS]
    if all(isinstance(each, Tensor) and each.ndim == 2 for each in ends):
        return torch.stack(ends, -1)  # type: ignore[arg-type]
    return None


ENDS = ("start", "end")
"""What a head that looks for an answer scores at each token: whether the answer begins there, and ends."""
