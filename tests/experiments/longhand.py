"""GlobEnc's table 1 without contextmix: a BERT classifier of transformers, the formulas of the papers, numpy, float64.

From the model come its hidden states, its attention and its weights; everything else is written out: the parts of each
token's vector, the four norms, the residual variants, the rollout, and scipy's rank correlation with the saliency.
"""

import numpy as np
import torch
from scipy.special import erf
from scipy.stats import spearmanr
from transformers import AutoTokenizer, BertForSequenceClassification

NAMES = ("W", "W_FixedRes", "W_Res", "N", "N_FixedRes", "N_Res", "N_ResLN", "N_Enc")


def table(folder, texts, labels):
    """Name → (mean, population standard deviation) over the texts."""
    model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model, tokenizer = model.double().eval(), AutoTokenizer.from_pretrained(folder)
    found = {name: [] for name in NAMES}
    for text, label in zip(texts, labels, strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        saliency, layers = run(model, inputs, label)
        for name in NAMES:
            row = rollout([layer[name] for layer in layers])[0]
            found[name].append(spearmanr(row, saliency).statistic)
    return {name: (np.mean(values), np.std(values)) for name, values in found.items()}


def run(model, inputs, label):
    """‖∂y_c/∂e⁰ ⊙ e⁰‖ of each token, and the eight maps of each layer."""
    outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
    first = outputs.hidden_states[0]
    (gradient,) = torch.autograd.grad(outputs.logits[0, label], first)
    saliency = np.sqrt(((gradient * first)[0].detach().numpy() ** 2).sum(-1))
    states = [state[0].detach().numpy() for state in outputs.hidden_states]
    layers = []
    for number, block in enumerate(model.bert.encoder.layer):
        alpha = outputs.attentions[number][0].detach().numpy()
        found, rebuilt = maps(block, states[number], alpha, model.config)
        np.testing.assert_allclose(rebuilt, states[number + 1], rtol=0, atol=1e-9)  # these are the model's own numbers
        layers.append(found)
    return saliency, layers


def maps(block, x, alpha, config):
    """The eight maps of one layer, and its output."""
    n, d = x.shape
    heads, eps = config.num_attention_heads, config.layer_norm_eps
    w_v, b_v = weights(block.attention.self.value)
    w_o, b_o = weights(block.attention.output.dense)
    gamma1, beta1 = weights(block.attention.output.LayerNorm)
    gamma2, beta2 = weights(block.output.LayerNorm)
    values = (x @ w_v.T + b_v).reshape(n, heads, d // heads)
    by_head = w_o.reshape(d, heads, d // heads)
    z = np.zeros((n, n, d))
    for h in range(heads):
        for j in range(n):
            z[:, j] += alpha[h][:, j, None] * (by_head[:, h] @ values[j, h])
    full = z.sum(1) + b_o + x  # b_O is in what the norm divides by, and in no part
    z_plus = z.copy()
    for i in range(n):
        z_plus[i, i] += x[i]
    z_tilde = pushed(z_plus, full, gamma1, eps)
    middle = layer_norm(full, gamma1, beta1, eps)
    second = middle + feed_forward(block, middle)
    x_tilde = pushed(z_tilde, second, gamma2, eps)
    w, norm = alpha.mean(0), np.linalg.norm(z, axis=-1)
    found = {
        "W": w,
        "W_FixedRes": 0.5 * w + 0.5 * np.eye(n),
        "W_Res": with_measured_residual(w, x_tilde),
        "N": norm,
        "N_FixedRes": 0.5 * norm / norm.sum(1, keepdims=True) + 0.5 * np.eye(n),
        "N_Res": np.linalg.norm(z_plus, axis=-1),
        "N_ResLN": np.linalg.norm(z_tilde, axis=-1),
        "N_Enc": np.linalg.norm(x_tilde, axis=-1),
    }
    return found, layer_norm(second, gamma2, beta2, eps)


def weights(module):
    return module.weight.detach().numpy(), module.bias.detach().numpy()


def layer_norm(rows, gamma, beta, eps):
    centred = rows - rows.mean(-1, keepdims=True)
    return centred / np.sqrt(rows.var(-1, keepdims=True) + eps) * gamma + beta


def pushed(parts, full, gamma, eps):
    """Each part centred by itself, divided by the deviation of the full row, no β."""
    deviation = np.sqrt(full.var(-1) + eps)[:, None, None]
    return (parts - parts.mean(-1, keepdims=True)) / deviation * gamma


def feed_forward(block, rows):
    w_1, b_1 = weights(block.intermediate.dense)
    w_2, b_2 = weights(block.output.dense)
    inner = rows @ w_1.T + b_1
    return (0.5 * inner * (1 + erf(inner / np.sqrt(2)))) @ w_2.T + b_2


def with_measured_residual(w, x_tilde):
    """W_Res: the mixing ratio is the length of the sum of the others' parts, of the whole encoder block."""
    found = np.zeros_like(w)
    for i in range(len(w)):
        others = [j for j in range(len(w)) if j != i]
        moved, kept = np.linalg.norm(x_tilde[i, others].sum(0)), np.linalg.norm(x_tilde[i, i])
        ratio = moved / (moved + kept)
        found[i, others] = ratio * w[i, others] / w[i, others].sum()
        found[i, i] = 1 - ratio
    return found


def rollout(layers):
    """R_1 = M_1, R_l = M_l R_{l−1}."""
    found = layers[0]
    for layer in layers[1:]:
        n = len(layer)
        product = np.zeros((n, n))
        for i in range(n):
            for k in range(n):
                product[i] += layer[i, k] * found[k]
        found = product
    return found
