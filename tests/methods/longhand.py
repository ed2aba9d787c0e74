"""A post-norm BERT in the words of the papers: its own weights, one vector at a time, in float64, without contextmix.

Names follow GlobEnc and Kobayashi et al.: x the layer's input, α the attention, f^h(x_j) the vector that head h would
move, z the attention output, z⁺ = z + x, z̃ = LN₁(z⁺), z̃⁺ = FFN(z̃) + z̃, x̃ = LN₂(z̃⁺).
"""

import math
from dataclasses import dataclass

import numpy as np
from transformers import BertModel

Vector = np.ndarray


@dataclass(frozen=True)
class Layer:
    """One layer, all of it materialised."""

    x: Vector  # (n, d)
    alpha: Vector  # (H, n, n)
    f: Vector  # (H, n, d): with the value bias, without the output bias
    b_o: Vector
    z: Vector  # (n, d)
    z_plus: Vector
    z_tilde: Vector
    z_tilde_plus: Vector
    x_tilde: Vector
    gamma1: Vector
    gamma2: Vector
    eps: float

    @property
    def heads(self) -> range:
        return range(len(self.alpha))

    @property
    def tokens(self) -> range:
        return range(len(self.x))


def length(vector: Vector) -> float:
    return math.sqrt(sum(float(number) ** 2 for number in vector))


def layer_norm(row: Vector, gamma: Vector, beta: Vector, eps: float) -> Vector:
    """Of one row: the mean of the squares is divided by d, eps is under the root."""
    mean = sum(row) / len(row)
    variance = sum((number - mean) ** 2 for number in row) / len(row)
    return (row - mean) / math.sqrt(variance + eps) * gamma + beta


def gelu(number: float) -> float:
    return number * 0.5 * (1 + math.erf(number / math.sqrt(2)))


def affine(x: Vector, linear) -> Vector:
    return linear.weight.detach().numpy() @ x + linear.bias.detach().numpy()


def read(model: BertModel, ids) -> list[Layer]:
    """Run the encoder layer by layer, by hand, from the output of the embedding layer."""
    x, layers = model.embeddings(input_ids=ids[None]).detach().numpy()[0], []
    for block in model.encoder.layer:
        layers.append(_layer(block, x, model.config))
        x = layers[-1].x_tilde
    return layers


def _layer(block, x: Vector, config) -> Layer:
    n, d, n_heads, eps = len(x), config.hidden_size, config.num_attention_heads, config.layer_norm_eps
    width, attention = d // n_heads, block.attention.self
    alpha, f = np.zeros((n_heads, n, n)), np.zeros((n_heads, n, d))
    w_o, b_o = block.attention.output.dense.weight.detach().numpy(), block.attention.output.dense.bias.detach().numpy()
    for h in range(n_heads):
        own = slice(h * width, (h + 1) * width)
        query, key, value = ([affine(x[i], part)[own] for i in range(n)] for part in _qkv(attention))
        for i in range(n):
            scores = [math.exp(query[i] @ key[j] / math.sqrt(width)) for j in range(n)]
            alpha[h, i] = np.array(scores) / sum(scores)
        for j in range(n):
            f[h, j] = w_o[:, own] @ value[j]
    norms = block.attention.output.LayerNorm, block.output.LayerNorm
    (gamma1, beta1), (gamma2, beta2) = ((norm.weight.detach().numpy(), norm.bias.detach().numpy()) for norm in norms)
    z = np.stack([sum(alpha[h, i, j] * f[h, j] for h in range(n_heads) for j in range(n)) + b_o for i in range(n)])
    z_plus = z + x
    z_tilde = np.stack([layer_norm(row, gamma1, beta1, eps) for row in z_plus])
    z_tilde_plus = np.stack([row + _feed_forward(block, row) for row in z_tilde])
    x_tilde = np.stack([layer_norm(row, gamma2, beta2, eps) for row in z_tilde_plus])
    return Layer(x, alpha, f, b_o, z, z_plus, z_tilde, z_tilde_plus, x_tilde, gamma1, gamma2, eps)


def _qkv(attention):
    return attention.query, attention.key, attention.value


def _feed_forward(block, row: Vector) -> Vector:
    inner = np.array([gelu(number) for number in affine(row, block.intermediate.dense)])
    return affine(inner, block.output.dense)


def g(part: Vector, full: Vector, gamma: Vector, eps: float) -> Vector:
    """LayerNorm of one part: its own mean, the variance of the full row, no β (Kobayashi et al. 2021, eq. 6)."""
    mean = sum(full) / len(full)
    variance = sum((number - mean) ** 2 for number in full) / len(full)
    return (part - sum(part) / len(part)) / math.sqrt(variance + eps) * gamma


def mixing_ratio(parts: dict[tuple[int, int], Vector], n: int) -> list[float]:
    """Kobayashi et al. (2021), eq. 8: the length of the sum of the others' parts, over that plus the own part's."""
    ratios = []
    for i in range(n):
        others = length(sum(parts[i, j] for j in range(n) if j != i))
        ratios.append(others / (others + length(parts[i, i])))
    return ratios


def lengths(parts: dict[tuple[int, int], Vector], n: int) -> list[list[float]]:
    return [[length(parts[i, j]) for j in range(n)] for i in range(n)]
