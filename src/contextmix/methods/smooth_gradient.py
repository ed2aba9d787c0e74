"""SmoothGrad: the gradient of a class score, averaged over inputs with a little noise.

s_i = ‖(1/N) Σ_k ∂y_c/∂e_i (e⁰ + ε_k)‖₂ with ε_k ~ N(0, σ²). A score that jumps about close to the input has a gradient
that says little of it; the mean over its neighbourhood is steadier.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.errors import BadOption
from contextmix.maths.gradients import token_lengths
from contextmix.plugins.contracts import ModelMethod
from contextmix.plugins.papers import SMILKOV_2017
from contextmix.results.provenance import Quantity
from contextmix.traces.model_run import ModelRun


def attribute(run: ModelRun, *, samples: int = 25, noise: float = 0.1, seed: int = 0) -> Tensor:
    """Lengths of the mean gradient at each token.

    Args:
        run: The input, the model, and the explained score: of the predicted class or next token unless the user names
            another.
        samples: N, at least 1: how many inputs with noise.
        noise: σ as a part of the distance from the smallest to the largest number in the embeddings, at least 0.
        seed: Of the noise, which is the same on every device.

    Returns:
        (key,), ≥ 0, in logits per unit of the residual stream, like `gradient`, which it is without noise.

    Raises:
        BadOption: If there are no samples, or the noise is negative.
        UnsupportedModel: If the model is quantised, or the score does not react to the embeddings.
        NotFinite: If a gradient is NaN or infinite.

    Source:
        Smilkov et al. (2017), section 3, for images: 10 to 20 % noise, 50 samples; they see no gain above that. The
        gradients are averaged before the length is taken. e⁰ is what enters the first block.
    """
    if samples < 1 or noise < 0:
        raise BadOption(f"samples={samples} and noise={noise}: at least 1 input with noise of at least 0 is averaged.")
    center = run.embeddings
    drawn = torch.Generator().manual_seed(seed)
    size = noise * float(center.max() - center.min())
    total: Tensor | None = None
    for _ in range(samples):
        away = torch.randn(center.shape, generator=drawn).to(center.device, center.dtype)
        _, found = run.gradients((center + size * away)[None])
        total = found[0] if total is None else total + found[0]
    assert total is not None
    run.target.refuse_gradient(total)
    return token_lengths(total / samples)


METHOD = ModelMethod(
    name="smooth_gradient",
    title="SmoothGrad",
    attribute=attribute,
    quantity=Quantity.GRADIENT,
    formula="s_i = ‖(1/N) Σ_k ∂y_c/∂e_i (e⁰ + ε_k)‖",
    paper=SMILKOV_2017,
    cost="25 forward and backward passes",
    needs="scores of classes or next tokens, gradients",
)
