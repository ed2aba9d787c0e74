"""What a model writes by itself: the likeliest token after each step, by transformers' own generation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from contextmix.tracing.recording.quiet import evaluating


def greedily(
    generate: Callable[..., Any],
    model: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    max_new_tokens: int,
    **rules: Any,
) -> list[int]:
    """The ids that generation gives without sampling and without beams: what it began with, then its own.

    Args:
        generate: The model's own ``generate``, or the common one where a family's does more than that.
        model: It stays as it was. Its rules hold (forced, suppressed and end tokens), but for those given here.
        inputs: One sequence with a batch axis, where the model is.
        max_new_tokens: The most that it writes.
        rules: Settings of `transformers.GenerationConfig` beside these.
    """
    options: dict[str, Any] = {**inputs, "generation_config": _rules(model, max_new_tokens, rules)}
    if "input_ids" in inputs:  # no id is padding here, whatever its number
        options["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with evaluating(model), torch.no_grad():
        found: list[int] = generate(**options)[0].tolist()
    return found


_ONE_ROW: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "max_length": None,
    "return_dict_in_generate": False,
    "output_scores": False,
    "output_logits": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "prompt_lookup_num_tokens": None,
    "cache_implementation": None,
    "early_stopping": False,
}
"""Settings that choose another way of writing, or ask for more than ids; those of rules (forced tokens …) stay."""


def _rules(model: PreTrainedModel, max_new_tokens: int, rules: Mapping[str, Any]) -> GenerationConfig:
    """The model's settings of generation with some of them changed, in a copy."""
    own: Any = copy.deepcopy(model.generation_config)
    end = own.eos_token_id[0] if isinstance(own.eos_token_id, list) else own.eos_token_id
    padding = next(number for number in (own.pad_token_id, end, 0) if number is not None)  # unused: one sequence
    for name, value in _ONE_ROW.items():  # one by one: `update` would refuse what is only half changed
        setattr(own, name, value)
    own.update(max_new_tokens=max_new_tokens, pad_token_id=padding, **rules)
    return own  # type: ignore[no-any-return]
