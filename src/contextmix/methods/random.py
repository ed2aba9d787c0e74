"""Random scores: the baseline that every explanation must beat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from contextmix.plugins.contracts import ModelMethod
from contextmix.plugins.papers import DEYOUNG_2020
from contextmix.results.provenance import Quantity
from contextmix.traces.model_run import ModelRun


def attribute(run: ModelRun, *, seed: int = 0) -> Tensor:
    """Numbers that know nothing of the model; of the text only its token ids, which start the draws.

    Args:
        run: The input.
        seed: Other numbers, 0 or above.

    Returns:
        (key,), signed, standard normal; the same for the same text and seed, whatever the model's weights are.

    Source:
        A random ranking is the baseline of ERASER (DeYoung et al. 2020), section 5 and table 3.
    """
    ids = run.tokens.ids or (len(run.tokens),)
    return torch.from_numpy(np.random.default_rng([seed, *ids]).standard_normal(len(run.tokens)))


METHOD = ModelMethod(
    name="random",
    title="Random",
    attribute=attribute,
    quantity=Quantity.SIGNED,
    formula="s_i ~ N(0, 1)",
    paper=DEYOUNG_2020,
    cost="none, beside one forward pass for the prediction",
    needs="scores of classes or next tokens",
)
