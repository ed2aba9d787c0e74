"""Tiny models of families with something between their heads and their output projection, in float64."""

from typing import Any

import torch
import transformers
from tests.tracing.tiny import MARKS, SIZES, in_float64, vivid
from torch import Tensor, nn

SMALL = {**SIZES, **MARKS, "num_key_value_heads": 1, "head_dim": 8, "attention_bias": True}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
LAGUNA = {**EXPERTS, "mlp_layer_types": ["dense"] * 2, "num_attention_heads_per_layer": [2, 2]}
NEXT = {**EXPERTS, "layer_types": ["full_attention"] * 2, "mlp_only_layers": [0, 1]}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    # a gate per channel
    "qwen3_next": ("Qwen3Next", {**SMALL, **NEXT}),
    "afmoe": ("Afmoe", {**SMALL, **EXPERTS, "num_dense_layers": 2, "sliding_window": 3}),
    "laguna_channels": ("Laguna", {**SMALL, **LAGUNA, "gating": "per-element", "sliding_window": 3}),
    # a gate per head
    "laguna": ("Laguna", {**SMALL, **LAGUNA, "gating": "per-head", "sliding_window": 3}),
    # a sink that is a factor of the heads' output
    "granite_swa": ("GraniteSWA", {**SMALL, "sliding_window": 3}),
    # a norm over all heads
    "bitnet": ("BitNet", SMALL),
    # what no small model of a family shows in float64
    "layer_norm": ("Llama", SMALL),
    "head_norm": ("Llama", SMALL),
    "gate_then_norm": ("Llama", SMALL),
}
NORMS = ("bitnet", "layer_norm", "head_norm", "gate_then_norm")


class Between(nn.Module):
    """An output projection that reads something made of the heads' output."""

    def __init__(self, kind: str, projection: nn.Linear) -> None:
        super().__init__()
        width = projection.in_features
        self.kind, self.projection, self.gate = kind, projection, nn.Linear(width, width)
        self.norm = nn.LayerNorm(width) if kind == "layer_norm" else nn.RMSNorm(width, eps=1e-5)

    def forward(self, heads: Tensor) -> Tensor:
        gate = torch.sin(torch.arange(heads.shape[-2]).unsqueeze(-1) + self.gate.bias.detach()).add(1.5)
        if self.kind == "head_norm":
            split = heads.unflatten(-1, (2, -1))
            return self.projection((split / (split.square().mean(-1, keepdim=True) + 1e-5).sqrt()).flatten(-2) * gate)
        return self.projection(self.norm(heads if self.kind == "layer_norm" else heads * gate))


def gated(family: str, head: str = "Model", seed: int = 0) -> Any:
    """A fresh model of a family."""
    prefix, own = FAMILIES[family]
    model: Any = getattr(transformers, f"{prefix}{head}")(getattr(transformers, f"{prefix}Config")(**own))
    if prefix == "Llama":
        for layer in blocks_of(model):
            layer.self_attn.o_proj = Between(family, layer.self_attn.o_proj)
    return in_float64(vivid(model, seed))


def blocks_of(model: Any) -> nn.ModuleList:
    """Its blocks."""
    return getattr(model, "model", model).layers
