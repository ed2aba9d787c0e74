"""Gradient times input: the saliency that GlobEnc is compared with.

s_i = ‖∂y_c/∂e⁰_i ⊙ e⁰_i‖₂, with e⁰ the output of the embedding layer; or the sum of the product instead of its length.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from contextmix.maths.gradients import REDUCTIONS
from contextmix.plugins.contracts import ModelMethod, QuantityBy
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.results.provenance import Quantity
from contextmix.traces.model_run import ModelRun
from contextmix.traces.span_run import SpanRun


def attribute(run: ModelRun, *, reduce: Literal["norm", "sum"] = "norm") -> Tensor:
    """Gradient ⊙ input at each token, as one number.

    Args:
        run: The input, the model, and the explained score: of the predicted class or next token unless the user names
            another.
        reduce: ``"norm"`` for the length of the product (the paper's), or its signed ``"sum"``: what the logit would
            lose, to first order, if the token's embedding were zero.

    Returns:
        (key,), in logits: ≥ 0, or signed where summed; special tokens included, not normalised.

    Raises:
        UnsupportedModel: If the model is quantised, or the score does not react to the embeddings.
        NotFinite: If the gradient is NaN or infinite.

    Source:
        GlobEnc, eq. 17. y_c is the logit, not the probability. The paper explains the *true* class of each sentence:
        name it as the target to compare; without one, the predicted class is explained, as in DecompX. e⁰ is what
        enters the first block: after the sum of word, position and type, and its norm.
    """
    return REDUCTIONS[reduce](run.gradient * run.embeddings)


def steps(run: SpanRun, *, reduce: Literal["norm", "sum"] = "norm") -> Tensor:
    """The same for several neighbouring tokens, (row, key): one run of the model, and one backward pass for each."""
    return torch.stack([REDUCTIONS[reduce](found * run.embeddings) for found in run.gradients()])


METHOD = ModelMethod(
    name="gradient_inputs",
    title="Gradient × input",
    attribute=attribute,
    quantity=QuantityBy("reduce", {"sum": Quantity.SIGNED}, otherwise=Quantity.GRADIENT),
    formula="s_i = ‖∂y_c/∂e⁰_i ⊙ e⁰_i‖",
    paper=MODARRESSI_2022,
    cost="one forward and one backward pass",
    needs="scores of classes or next tokens, gradients",
    steps=steps,
    together="score",
    reads="gradients",
)
