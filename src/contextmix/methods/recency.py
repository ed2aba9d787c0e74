"""Position alone: the later a token stands, the higher it scores. The baseline that a decoder's explanation must beat.

What stands nearest to the end often matters most, whatever it says, so that much of what looks like an explanation may
be the place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.plugins.contracts import ModelMethod
from contextmix.plugins.papers import ZHAO_2021
from contextmix.results.provenance import Quantity
from contextmix.traces.model_run import ModelRun


def attribute(run: ModelRun) -> Tensor:
    """Twice, three times, … n times as much for the second, third, … last token as for the first.

    Args:
        run: The input.

    Returns:
        (key,), shares that sum to 1; the same for all texts of a length, whatever the model's weights are.

    Source:
        Zhao et al. (2021) find that language models prefer what stands near the end of a prompt. That position alone
        is a baseline for explanations is ours.
    """
    ranks = torch.arange(1, len(run.tokens) + 1, dtype=torch.float64)
    return ranks / ranks.sum()


METHOD = ModelMethod(
    name="recency",
    title="Recency",
    attribute=attribute,
    quantity=Quantity.SHARE,
    formula="s_i = i / Σ j",
    paper=ZHAO_2021,
    cost="none, beside one forward pass for the prediction",
    needs="scores of classes or next tokens",
)
