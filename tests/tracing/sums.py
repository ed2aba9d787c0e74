"""Tiny decoders whose blocks add up more than their input, attention and a feed-forward part; no factor is one.

Two of the four blocks of ``gemma4sharing`` mix the values of the other two. Tokens of ``gemma3n`` have three streams.
"""

from typing import Any

import torch
import transformers
from tests.tracing.tiny import MARKS, SIZES, vivid
from torch import nn

FURTHER = ("gemma4", "gemma4sharing", "minimax", "doge", "gptneoxjapanese")
_SHARED = {**SIZES, **MARKS, "num_key_value_heads": 1, "head_dim": 8}
_OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma4": (
        "Gemma4",
        {
            "global_head_dim": 8,
            "hidden_size_per_layer_input": 4,
            "vocab_size_per_layer_input": 40,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 4,
        },
    ),
    "gemma4sharing": (
        "Gemma4",
        {
            "global_head_dim": 8,
            "hidden_size_per_layer_input": 4,
            "vocab_size_per_layer_input": 40,
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "sliding_window": 4,
        },
    ),
    "gemma3n": (
        "Gemma3n",
        {
            "hidden_size_per_layer_input": 4,
            "vocab_size_per_layer_input": 40,
            "layer_types": ["sliding_attention", "full_attention"],
            "num_kv_shared_layers": 0,
            "sliding_window": 4,
            "laurel_rank": 4,
            "altup_num_inputs": 3,
            "activation_sparsity_pattern": [0.0, 0.5],
        },
    ),
    "minimax": (
        "MiniMax",
        {
            "layer_types": ["full_attention"] * 2,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "full_attn_alpha_factor": 1.5,
            "full_attn_beta_factor": 0.6,
            "mlp_alpha_factor": 0.8,
            "mlp_beta_factor": 1.7,
        },
    ),
    "doge": ("Doge", {}),
    "gptneoxjapanese": ("GPTNeoXJapanese", {"intermediate_multiple_size": 2}),
}
SCALARS = (0.7, 1.3, 0.9, 1.1)
"""Of Gemma 4's blocks: buffers, which a fresh model leaves at one."""


def further(family: str, head: str = "Model", seed: int = 0, **changes: Any) -> Any:
    """A fresh model in float64, such as ``further("gemma4", "ForCausalLM")``; its RMS norms compute in float64 too."""
    prefix, own = _OWN[family]
    text = "Text" if prefix.startswith("Gemma") else ""
    config = getattr(transformers, f"{prefix}{text}Config")(**{**_SHARED, **own, **changes})
    kind = f"{prefix}{text if head == 'Model' else ''}{head}"
    model = vivid(getattr(transformers, kind)(config), seed)
    for block, scalar in zip(blocks_of(model), SCALARS, strict=False):
        if prefix == "Gemma4":
            block.layer_scalar.fill_(scalar)
    if family == "minimax":
        model.set_experts_implementation("eager")  # the fused experts take no float64
    return _exact(model)


def blocks_of(model: nn.Module) -> Any:
    """Its blocks, in order."""
    return next(part.layers for part in model.modules() if hasattr(part, "layers"))


def _exact(model: Any) -> Any:
    for path, module in list(model.named_modules()):
        if type(module).__name__.endswith("RMSNorm"):
            weight = getattr(module, "weight", None)
            eps = module.eps if hasattr(module, "eps") else module.variance_epsilon
            exact = _RMSNorm(eps) if weight is None else nn.RMSNorm(len(weight), eps=eps)
            if weight is not None:
                exact.weight.data = weight.data
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, exact)
    return model.double().eval()


class _RMSNorm(nn.Module):
    """Without weight."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states * (states.square().mean(-1, keepdim=True) + self.eps).rsqrt()
