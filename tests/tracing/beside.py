"""A tiny model in whose blocks attention and a mixer without attention stand side by side, and what both do, by loops.

Nothing here knows contextmix: the tensors are what the model's own modules write, the formulas those of the papers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from tests.tracing.mixing import MAMBA2, SIZES, heard, scaled_mamba2
from tests.tracing.tiny import vivid
from torch import Tensor, nn

HEADS, D_HEAD, INNER = 2, 8, 32
ATTENTION_IN, ATTENTION_OUT, MIXER_OUT, KEY = 0.7, 1.3, 0.6, 0.9


def falcon_h1(head: str = "Model", **changes: Any) -> Any:
    """A fresh model in float64, all of whose factors are unlike one."""
    factors = {
        "attention_in_multiplier": ATTENTION_IN,
        "attention_out_multiplier": ATTENTION_OUT,
        "ssm_in_multiplier": 0.8,
        "ssm_out_multiplier": MIXER_OUT,
        "ssm_multipliers": [0.5, 0.9, 1.1, 1.2, 0.7],
        "key_multiplier": KEY,
    }
    own = {"mamba_d_ssm": INNER, "head_dim": D_HEAD, "attention_bias": True, "projectors_bias": True}
    config = transformers.FalconH1Config(**{**SIZES, **MAMBA2, **own, **factors, **changes})
    model: Any = vivid(getattr(transformers, f"FalconH1{head}")(config))
    return model.double().eval()


def sent_by_attention(attention: Any, said: dict[str, Tensor]) -> Tensor:
    """What each token brings to each row, (row, token, d_model), through softmax of rotated queries and keys."""
    query, key, value = said["q_proj"], said["k_proj"] * KEY, said["v_proj"]  # one head of keys and of values
    n, width = value.shape
    found = value.new_zeros(n, n, attention.o_proj.out_features)
    for head in range(HEADS):
        own = query[:, head * D_HEAD : (head + 1) * D_HEAD]
        weight = attention.o_proj.weight[:, head * width : (head + 1) * width]
        for row in range(n):
            scores = torch.stack([_turned(own[row], row) @ _turned(key[token], token) for token in range(row + 1)])
            for token, share in enumerate((scores * D_HEAD**-0.5).softmax(0)):
                found[row, token] += share * (weight @ value[token])
    return found


def _turned(vector: Tensor, place: int, base: float = 1e4) -> Tensor:
    """Rotary positions: channel c and c + d/2 are turned by place · base^(−2c/d)."""
    half, found = len(vector) // 2, vector.clone()
    for c in range(half):
        angle = torch.tensor(place * base ** (-c / half), dtype=vector.dtype)
        found[c] = vector[c] * angle.cos() - vector[c + half] * angle.sin()
        found[c + half] = vector[c + half] * angle.cos() + vector[c] * angle.sin()
    return found


def sent(model: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What each token brings to the sum after attention in the first layer, (row, token, d_model); what none does."""
    layer: Any = model.get_submodule("layers.0")
    said = heard(layer, lambda: model(ids, use_cache=False))
    own, other = ({p.removeprefix(f"{n}."): one for p, one in said.items()} for n in ("self_attn", "mamba"))
    with torch.no_grad():
        scanned, rest = scaled_mamba2(layer.mamba, other)
        found = ATTENTION_OUT * sent_by_attention(layer.self_attn, own)
        found = found + MIXER_OUT * scanned @ layer.mamba.out_proj.weight.T
        nothing = ATTENTION_OUT * layer.self_attn.o_proj.bias + MIXER_OUT * layer.mamba.out_proj(rest)
    return found, nothing


def really_zeroed(model: nn.Module, ids: Tensor, tokens: Sequence[int]) -> Tensor:
    """The first layer's output with the values of these tokens zero in both of its mixers, by hooks."""
    left: list[Tensor] = []
    first: Any = model.get_submodule("layers.0")
    with zeroing(first, tokens), torch.no_grad():
        hook = first.register_forward_hook(lambda _, __, output: left.append(_states(output)[0].clone()))
        model(ids, use_cache=False)
        hook.remove()
    return left[0]


@contextmanager
def zeroing(layer: Any, tokens: Sequence[int]) -> Iterator[None]:
    """With the values of these tokens zero in both mixers of a layer."""

    def zero(columns: slice) -> Any:
        def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
            output = output.clone()
            output[:, list(tokens), columns] = 0
            return output

        return hook

    own = layer.self_attn.v_proj.register_forward_hook(zero(slice(None)))
    other = layer.mamba.in_proj.register_forward_hook(zero(slice(INNER, 2 * INNER)))
    yield
    own.remove()
    other.remove()


def _states(output: Any) -> Tensor:
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found
