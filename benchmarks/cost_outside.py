"""What a map costs where attention does not pass through the registry, or its heads pass a gate, against the model.

    python benchmarks/cost_outside.py [deberta] [mpnet] [bloom] [gated] [--tokens 128] [--repeats 7] [--cpu-time]

Sizes of the published base models (four layers of BLOOM 560M and two gated ones of Qwen3-Next stand for all), random
weights, one sequence.
The programs of a group run in turn; printed are the best time of each and the median over rounds of its ratio to the
plain pass. With ``--cpu-time`` on one thread the figures stand other work on the machine.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from cost_family import Programs, measure
from transformers import (
    BloomConfig,
    BloomModel,
    DebertaV2Config,
    DebertaV2Model,
    MPNetConfig,
    MPNetModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

import contextmix
from contextmix.tracing.recording.record import record


def deberta() -> Any:
    """DeBERTa-v3-base."""
    config = DebertaV2Config(
        vocab_size=128100,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=-1,
        position_biased_input=False,
        type_vocab_size=0,
    )
    return DebertaV2Model(config)


def mpnet() -> Any:
    """MPNet-base."""
    return MPNetModel(MPNetConfig())


def bloom() -> Any:
    """Four layers of BLOOM 560M."""
    return BloomModel(BloomConfig(vocab_size=250880, hidden_size=1024, n_layer=4, n_head=16))


def gated() -> Any:
    """Two layers with a gate per channel of Qwen3-Next 80B, with 16 of its 512 experts, 10 of which a token takes."""
    return Qwen3NextForCausalLM(
        Qwen3NextConfig(
            vocab_size=20000,
            num_hidden_layers=2,
            layer_types=["full_attention"] * 2,
            num_experts=16,
            num_experts_per_tok=10,
        )
    )


MODELS = {"deberta": deberta, "mpnet": mpnet, "bloom": bloom, "gated": gated}


def programs(model: Any, n: int) -> Programs:
    """A plain pass, a recorded one, and two maps of all layers; of a model with a vocabulary's head evidence too."""
    ids = torch.randint(1000, 20000, (n,), generator=torch.Generator().manual_seed(0))
    traced = contextmix.load(model.eval())
    anatomy = traced.anatomy()  # found once per model, on seven tokens
    plain = torch.no_grad()(partial(model, input_ids=ids[None]))
    speaks = model.get_output_embeddings() is not None
    spoken = {"evidence": lambda: traced.explain({"input_ids": ids}, "evidence")}
    return {
        "plain": plain,
        **(spoken if speaks else {}),
        "traced, nothing measured": lambda: record(model, anatomy, {"input_ids": ids[None]}, lambda _: None),
        "attention_rollout": lambda: traced.explain({"input_ids": ids}, "attention_rollout"),
        "globenc": lambda: traced.explain({"input_ids": ids}, "globenc"),
    }


if __name__ == "__main__":
    measure(__doc__, MODELS, programs, repeats=7)
