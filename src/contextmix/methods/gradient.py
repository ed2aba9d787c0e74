"""Plain gradient: how strongly does a class score react to a small change of a token's embedding?

s_i = ‖∂y_c/∂e⁰_i‖₂, with e⁰ the output of the embedding layer. It sees how steep the score is, not how far it goes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.maths.gradients import token_lengths
from contextmix.plugins.contracts import ModelMethod
from contextmix.plugins.papers import SIMONYAN_2014
from contextmix.results.provenance import Quantity
from contextmix.traces.model_run import ModelRun
from contextmix.traces.span_run import SpanRun


def attribute(run: ModelRun) -> Tensor:
    """Lengths of the gradient at each token.

    Args:
        run: The input, the model, and the explained score: of the predicted class or next token unless the user names
            another.

    Returns:
        (key,), ≥ 0, in logits per unit of the residual stream; special tokens included, not normalised.

    Raises:
        UnsupportedModel: If the model is quantised, or the score does not react to the embeddings.
        NotFinite: If the gradient is NaN or infinite.

    Source:
        Simonyan et al. (2014), section 3, for images (there the largest component, here the length). y_c is the logit,
        not the probability, and e⁰ what enters the first block: after the sum of word, position and type, and its norm.
    """
    return token_lengths(run.gradient)


def steps(run: SpanRun) -> Tensor:
    """The same for several neighbouring tokens, (row, key): one run of the model, and one backward pass for each."""
    return torch.stack([token_lengths(found) for found in run.gradients()])


METHOD = ModelMethod(
    name="gradient",
    title="Gradient",
    attribute=attribute,
    quantity=Quantity.GRADIENT,
    formula="s_i = ‖∂y_c/∂e⁰_i‖",
    paper=SIMONYAN_2014,
    cost="one forward and one backward pass",
    needs="scores of classes or next tokens, gradients",
    steps=steps,
    together="score",
    reads="gradients",
)
