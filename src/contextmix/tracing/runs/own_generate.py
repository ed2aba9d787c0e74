"""What a model writes by itself: its own generation under its own settings, beams included, but never by chance.

A model's class may do more than the common ``generate`` of transformers: Whisper's writes language and task tokens. So
the model's own is called, and what its decoder read is asked for too, as it may cut that off again. A model that would
sample takes the likeliest instead, or each run would explain another text; what was left out of its settings is told.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from contextmix.errors import BadInput, BadOption
from contextmix.tracing.recording.quiet import as_called, evaluating

_OURS = {
    "max_new_tokens": "say max_new_tokens=… itself",
    "max_length": "say max_new_tokens=…",
    "generation_config": "give the settings that differ from the model's by their names",
    "return_dict_in_generate": "contextmix reads what is returned",
    "return_segments": "contextmix reads what is returned",
    "num_return_sequences": "one output is explained at a time",
}
_SMALL = 8
"""Longer lists of settings are the model's own (suppressed tokens), and no news to who knows the model."""
_NO_NEWS = {"transformers_version", "use_cache", "return_dict_in_generate", "output_attentions", "output_hidden_states"}
_NO_NEWS |= {"output_scores", "output_logits", "num_return_sequences"}
_UNREADABLE = (
    "{name} writes no single sequence of tokens with these settings{why}, so there is none to explain. Ask for other "
    "settings, or give what it wrote as the output."
)


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Attributes:
        ids: What its decoder, or the whole model, began with, and then its own.
        settings: How it was asked to write, as JSON values: what was given, and what the model's configuration says.
        left_out: What that configuration says and was not followed.
    """

    ids: list[int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, Any] = field(default_factory=dict)


def own_writing(
    model: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    max_new_tokens: int,
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> Written:
    """What the model's own ``generate`` writes, without sampling unless the settings ask for it.

    Args:
        model: It stays as it was. Its generation configuration holds, but for sampling and for the settings.
        inputs: One sequence with a batch axis, where the model is.
        max_new_tokens: The most that it writes.
        settings: By name, as for ``generate``: of `transformers.GenerationConfig`, or of the model's class (language).
        limit: The most tokens that it reads; None for no limit.

    Raises:
        BadOption: If the model refuses a setting, or it is one that contextmix decides, or no plain value.
        BadInput: If it does not write one sequence of tokens.
    """
    whole: Any = model
    given = _free(settings)
    own = inspect.signature(whole.generate).parameters
    direct = {name: value for name, value in given.items() if name in own}
    rules = {name: value for name, value in given.items() if name not in own}
    try:
        config, unknown = _rules(model, inputs, max_new_tokens, rules)
        if limit is not None and max_new_tokens >= limit:  # some count what they begin with among the new tokens
            config.max_new_tokens, config.max_length = None, limit + 1
        found = _run(whole.generate, model, inputs, config, {**direct, **unknown})
    except (ValueError, TypeError, RuntimeError) as reason:
        if isinstance(reason, RuntimeError) and (isinstance(reason, torch.OutOfMemoryError) or not given):
            raise  # no setting is to blame
        raise BadOption(
            f"{type(model).__name__} does not write with these settings of its generation ({_listed(given)}): {reason}"
        ) from reason
    told = {**_told(config), **given, "max_new_tokens": max_new_tokens}
    return Written(_sequence(model, found), told, _left_out(model.generation_config, given))


def _free(settings: Any) -> dict[str, Any]:
    """The settings that users gave, as JSON values, or they could not be written down with the result."""
    if settings is not None and not isinstance(settings, Mapping):
        raise BadOption(f"Settings of a generation are a mapping, such as {{'language': 'en'}}; got {settings!r:.60}.")
    given = {
        str(name): value.tolist() if hasattr(value, "tolist") else value for name, value in (settings or {}).items()
    }
    for name, value in given.items():
        if name in _OURS:
            raise BadOption(f"The setting {name} of the generation is not free: {_OURS[name]}.")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as reason:
            raise BadOption(
                f"The setting {name} of the generation is a {type(value).__name__}, which cannot be written down with "
                "the result, so nobody could do it again. Give numbers, texts or lists; or write with the model "
                "yourself, and explain the output."
            ) from reason
    return given


def _run(
    generate: Callable[..., Any],
    model: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    config: GenerationConfig,
    more: Mapping[str, Any],
) -> Any:
    options: dict[str, Any] = {**as_called(inputs), **more, "generation_config": config}
    if "input_ids" in inputs:  # no id is padding here, whatever its number
        options["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with evaluating(model), torch.no_grad():
        return generate(**options)


_ONE_ROW: dict[str, Any] = {
    "do_sample": False,
    "num_return_sequences": 1,
    "max_length": None,
    "return_dict_in_generate": True,
    "output_scores": False,
    "output_logits": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "prompt_lookup_num_tokens": None,
    "cache_implementation": None,
}
"""Settings that leave the text to chance, ask for more than ids, or only for speed; all others stay the model's."""


def _rules(
    model: PreTrainedModel, inputs: Mapping[str, Tensor], max_new_tokens: int, rules: Mapping[str, Any]
) -> tuple[GenerationConfig, dict[str, Any]]:
    """The model's settings of generation with some of them changed, in a copy; and those that it does not know."""
    own: Any = copy.deepcopy(model.generation_config)
    end = own.eos_token_id[0] if isinstance(own.eos_token_id, list) else own.eos_token_id
    padding = next(number for number in (own.pad_token_id, end, 0) if number is not None)  # unused: one sequence
    for name, value in _ONE_ROW.items():  # one by one: `update` would refuse what is only half changed
        setattr(own, name, value)
    own.update(max_new_tokens=max_new_tokens, pad_token_id=padding, num_beams=own.num_beams or 1)
    begun = 1 if getattr(model.config, "is_encoder_decoder", False) else inputs["input_ids"].shape[1]
    shortest = {"min_length": begun + max_new_tokens, "min_new_tokens": max_new_tokens}  # no more than the most
    own.update(**{name: min(getattr(own, name), most) for name, most in shortest.items() if getattr(own, name, None)})
    return own, own.update(**rules)


def _sequence(model: PreTrainedModel, found: Any) -> list[int]:
    """The tokens in what ``generate`` gave, with those that it began with."""
    if isinstance(found, Mapping) and "segments" in found:  # Whisper with timestamps: one part for each window
        results = [segment["result"]["sequences"] for segment in found["segments"][0]]
        if not results or any(not torch.equal(one, results[0]) for one in results):
            raise BadInput(_UNREADABLE.format(name=type(model).__name__, why=" (it read the sound in several windows)"))
        return _ids(model, results[0])
    return _ids(model, found["sequences"][0] if isinstance(found, Mapping) else found[0])


def _ids(model: PreTrainedModel, sequence: Any) -> list[int]:
    if not isinstance(sequence, Tensor) or sequence.ndim != 1 or sequence.is_floating_point():
        raise BadInput(_UNREADABLE.format(name=type(model).__name__, why=""))
    found: list[int] = sequence.tolist()
    return found


def _told(config: GenerationConfig) -> dict[str, Any]:
    """What differs from the usual settings of transformers, as far as it is short; sampling and beams always."""
    usual = {"do_sample": config.do_sample, "num_beams": config.num_beams}
    known = {name: value for name, value in config.to_diff_dict().items() if name not in _NO_NEWS}
    return usual | {name: value for name, value in known.items() if name[0] != "_" and _is_short(value)}


def _left_out(own: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the model by which it would write something else, and that were not followed."""
    found: dict[str, Any] = {}
    if own.do_sample and "do_sample" not in given:
        found["do_sample"] = True
    if (own.num_return_sequences or 1) > 1:
        found["num_return_sequences"] = own.num_return_sequences
    return found


def _is_short(value: Any) -> bool:
    parts = value if isinstance(value, list) and len(value) <= _SMALL else [value]
    return all(isinstance(one, bool | int | float | str) for one in parts)


def _listed(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items()) or "those of its own configuration"
