"""Raw and effective attention of a tiny BERT without the package: transformers' own maps, and a pseudo-inverse."""

from functools import cache

import numpy as np
import torch
from tests.tracing.tiny import build, word_pieces

import contextmix as cm

D_HEAD = 8
SHORT = "a good film ."
LONG = "the deep and very meaningful film was unreal !"  # 14 tokens with [CLS] and [SEP]
WORDS = "a deep and good film the bad film was very good ! and the film was deep .".split()  # noqa: SIM905
TEXTS = [" ".join((2 * WORDS)[start : start + 5 + start % 9]) for start in range(13)] + [LONG]
"""Of 7 to 15 tokens; 10 of the 14 have more than 8."""


def bert(seed: int = 0, **changes):
    return build("bert", "ForSequenceClassification", seed=seed, **changes).double().eval()


@cache
def loaded(seed: int = 0) -> cm.TracedModel:
    return cm.load(bert(seed), word_pieces())


def read(*texts: str) -> dict[str, torch.Tensor]:
    return word_pieces()(*texts, return_tensors="pt")


@torch.no_grad()
def maps_by_hand(tensors: dict[str, torch.Tensor], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw and effective attention (layer, head, query, key), and values (layer, head, key, d_head)."""
    model = bert(seed, attn_implementation="eager")
    out = model(**tensors, output_attentions=True, output_hidden_states=True)
    raw, effective, values = [], [], []
    for block, states, attention in zip(model.bert.encoder.layer, out.hidden_states[:-1], out.attentions, strict=True):
        own = block.attention.self.value(states[0]).numpy()
        heads = [own[:, h * D_HEAD : (h + 1) * D_HEAD] for h in range(2)]
        raw.append(attention[0].numpy())
        effective.append(
            [weights @ value @ np.linalg.pinv(value) for weights, value in zip(raw[-1], heads, strict=True)]
        )
        values.append(heads)
    return np.array(raw), np.array(effective), np.array(values)
