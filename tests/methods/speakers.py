"""Tiny language models for methods that explain a next token, and what they are explained with by hand."""

from typing import Any

import torch
import transformers
from tests.tracing.tiny import MARKS, SIZES, build, in_float64, token_ids, vivid
from torch import Tensor

import contextmix as cm

IDS = token_ids(6, seed=3)[0]
CAUSAL = ["llama", "gpt2", "gemma", "gemma2", "granite", "olmo2", "phi", "phi3", "qwen2", "gpt_neox", "opt"]
MASKED = ["bert", "roberta", "albert", "distilbert", "electra", "modernbert"]

_GROUPED = {**MARKS, "num_key_value_heads": 1}
_OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "opt": ("OPT", {**MARKS, "ffn_dim": 32, "word_embed_proj_dim": 16}),
    "gemma": ("Gemma", {**_GROUPED, "head_dim": 8}),
    "phi3": ("Phi3", _GROUPED),
    "qwen2": ("Qwen2", _GROUPED),  # biases on query, key and value
    "mixtral": ("Mixtral", {**_GROUPED, "num_local_experts": 2}),
}


def speaker(family: str, **changes: Any) -> Any:
    """A language model in float64 whose norms compute in float64 too, with eager attention as the tap runs it."""
    if family in _OTHERS:
        prefix, own = _OTHERS[family]
        config = getattr(transformers, f"{prefix}Config")(**{**SIZES, **own, **changes})
        model = vivid(getattr(transformers, f"{prefix}ForCausalLM")(config))
    else:
        head = {"gpt2": "LMHeadModel"}.get(family, "ForMaskedLM" if family in MASKED else "ForCausalLM")
        model = build(family, head, **changes)
    model = in_float64(model)
    model.set_attn_implementation("eager")
    return model


def explained(model: Any, method: str, ids: Tensor = IDS, **options: Any) -> cm.TokenMap:
    """An attribution without a tokenizer: positions and targets are numbers."""
    return cm.load(model).explain({"input_ids": ids}, method, **options)


def logits(model: Any, ids: Tensor = IDS) -> Tensor:
    """(n, vocabulary), straight from the model."""
    with torch.no_grad():
        found: Tensor = model(ids[None]).logits[0]
    return found
