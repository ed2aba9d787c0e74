"""What a map costs where layers mix tokens without attention, against the model's own forward pass.

    python benchmarks/cost_mixers.py [delta] [mamba2] [convolution] [--tokens 128] [--repeats 3] [--cpu-time]

Shapes of published models with fewer layers and experts, random weights, one sequence. Qwen3-Next is halved in width,
and its proportions are kept: twice as many value heads as key heads, values twice as wide as the states, ten experts
per token, three delta nets to one attention. The programs of a group run in turn; printed are the best time of each and
the median over rounds of its ratio to the plain pass. With ``--cpu-time`` on one thread the figures stand other work on
the machine.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from cost_family import Programs, measure
from transformers import (
    BambaConfig,
    BambaForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

import contextmix
from contextmix.tracing.recording.record import record


def delta() -> Any:
    """Four layers of Qwen3-Next in half the width: three gated delta nets, one gated attention, 32 experts."""
    config = Qwen3NextConfig(
        vocab_size=32000,
        hidden_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=256,
        linear_num_key_heads=8,
        linear_num_value_heads=16,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        num_experts=32,
        num_experts_per_tok=10,
        moe_intermediate_size=256,
        shared_expert_intermediate_size=256,
    )
    return Qwen3NextForCausalLM(config)


def mamba2() -> Any:
    """Two layers of Bamba in a quarter of the width: a Mamba-2 and an attention."""
    config = BambaConfig(
        vocab_size=32000,
        hidden_size=1024,
        intermediate_size=3584,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        attn_layer_indices=[1],
        mamba_n_heads=32,
        mamba_d_state=128,
    )
    return BambaForCausalLM(config)


def convolution() -> Any:
    """Three layers of LFM2 350M: two short convolutions and an attention."""
    config = Lfm2Config(
        vocab_size=65536,
        hidden_size=1024,
        intermediate_size=6656,
        num_hidden_layers=3,
        num_attention_heads=16,
        num_key_value_heads=8,
        layer_types=["conv", "conv", "full_attention"],
    )
    return Lfm2ForCausalLM(config)


MODELS = {"delta": delta, "mamba2": mamba2, "convolution": convolution}


def programs(model: Any, n: int) -> Programs:
    """A plain pass, a recorded one, evidence at the last token, and maps of all layers."""
    ids = torch.randint(1000, 20000, (n,), generator=torch.Generator().manual_seed(0))
    traced = contextmix.load(model.eval())
    anatomy = traced.anatomy()  # found once per model, on seven tokens
    plain = torch.no_grad()(partial(model, input_ids=ids[None], use_cache=False))
    inputs = {"input_ids": ids[None]}
    return {
        "plain": plain,
        "evidence": lambda: traced.explain({"input_ids": ids}, "evidence"),
        "traced, nothing measured": lambda: record(model, anatomy, inputs, lambda _: None),
        "norm": lambda: traced.explain({"input_ids": ids}, "norm"),
        "globenc": lambda: traced.explain({"input_ids": ids}, "globenc"),
        "value_zeroing": lambda: traced.explain({"input_ids": ids}, "value_zeroing"),
    }


if __name__ == "__main__":
    measure(__doc__, MODELS, programs, repeats=3)
