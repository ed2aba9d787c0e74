"""What model inputs hold: each is used as the model itself would use it, or refused by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from contextmix.errors import BadInput
from contextmix.tracing.inputs.encode import as_ids, as_tensor
from contextmix.tracing.recording.quiet import parameters_of, plain_names

_SETTING = "It is a setting of the run, which contextmix makes itself"
_LOSS = "It only makes a loss, which no score and no map depends on"
_HEADS = "It changes the heads' outputs without contextmix noticing. Put a hook on the model instead"
_PAST = "It brings what the model has read before, and those tokens would have no row and no column. Give all tokens"
_ENCODER = "It is what an encoder made, and the tokens that it read would have no row and no column"

_REFUSED = {
    **dict.fromkeys(("output_attentions", "output_hidden_states", "return_dict", "use_cache"), _SETTING),
    **dict.fromkeys(("output_router_logits", "logits_to_keep", "num_logits_to_keep", "cache_position"), _SETTING),
    **dict.fromkeys(("labels", "start_positions", "end_positions", "next_sentence_label"), _LOSS),
    **dict.fromkeys(("sentence_order_label", "num_items_in_batch", "return_loss"), _LOSS),
    **dict.fromkeys(("head_mask", "decoder_head_mask", "cross_attn_head_mask"), _HEADS),
    **dict.fromkeys(("past_key_values", "past_key_value", "mems"), _PAST),
    **dict.fromkeys(("encoder_hidden_states", "encoder_attention_mask", "encoder_outputs"), _ENCODER),
    "mm_encoder_outputs": "It is what an image tower made; give the images, as pixel_values",
}


def used(model: PreTrainedModel, model_inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the model inputs that say something; all of them are used.

    What is None says nothing. Neither do token types that are all zero for a model that knows none: many tokenizers
    write them for any model.

    Args:
        model: The model.
        model_inputs: What a user gave.

    Raises:
        BadInput: If the model does not read one of them, or contextmix cannot use it.
    """
    known = accepted_names(model)
    found = {}
    for name, value in model_inputs.items():
        if value is None:
            continue
        if name in _REFUSED:
            raise BadInput(f"contextmix does not read {name}. {_REFUSED[name]}. Leave {name} out.")
        if known is None or name in known:
            found[name] = value
        elif name != "token_type_ids" or _says_something(value):
            raise BadInput(
                f"{type(model).__name__} does not read {name}: the model would silently ignore it, and the result "
                f"would be for an input without it. It reads {', '.join(sorted(known - _REFUSED.keys()))}. Leave "
                f"{name} "
                "out."
            )
    _refuse_unknown_types(model, found.get("token_type_ids"))
    return _with_mask(model, found)


def _with_mask(model: PreTrainedModel, given: dict[str, Any]) -> dict[str, Any]:
    """Positions of a decoder get the mask that its own call implies.

    Without a mask and without a cache, transformers takes positions that do not go on by one for those of several
    packed texts, and hides each from the next; a plain call of a decoder has a cache, and there it does not. Nothing is
    cached here, so the mask says it.
    """
    config: Any = model.config.get_text_config()
    if "position_ids" not in given or "attention_mask" in given or not getattr(config, "use_cache", False):
        return given
    leading = given.get("input_ids", given.get("inputs_embeds"))
    if leading is None:
        return given
    shape = as_tensor("input_ids", leading).shape[: None if "input_ids" in given else -1]
    return {**given, "attention_mask": torch.ones(shape, dtype=torch.long)}


def _refuse_unknown_types(model: PreTrainedModel, given: Any) -> None:
    table = next((part for path, part in model.named_modules() if path.endswith("token_type_embeddings")), None)
    known = getattr(table, "num_embeddings", None)
    if given is None or known is None:
        return
    types = as_ids("token_type_ids", as_tensor("token_type_ids", given))
    if types.numel() and (int(types.min()) < 0 or int(types.max()) >= known):
        raise BadInput(
            f"token_type_ids hold numbers from {types.min()} to {types.max()}; {type(model).__name__} knows 0 to "
            f"{known - 1}."
        )


def accepted_names(model: PreTrainedModel) -> set[str] | None:
    """What a model can be called with; None if its signature does not say.

    Of two stacks the encoder counts too, and what a head hands on to the model under it by ``**kwargs``.
    """
    whole: Any = model
    named = _named(whole.forward)
    if any(one.kind is one.VAR_KEYWORD for one in parameters_of(whole.forward).values()):
        named |= _named(whole.base_model.forward)
    if getattr(model.config, "is_encoder_decoder", False):
        named |= _named(whole.get_encoder().forward)
    main = model.main_input_name
    return named if {"input_ids", *([main] if isinstance(main, str) else main)} & named else None


def refuse_without_main(model: PreTrainedModel, tensors: Mapping[str, Any]) -> None:
    """Refuse model inputs without what the model reads first of all.

    Raises:
        BadInput: If they hold none of it, and the model's own call names it: some inherit the name of another input.
    """
    main, known = model.main_input_name, accepted_names(model)
    if known is not None and {"input_ids", "inputs_embeds", main}.isdisjoint(plain_names(tensors)):
        raise BadInput(f"The model inputs hold {', '.join(map(str, tensors))}, and no {main}.")


def reads_both(model: PreTrainedModel) -> bool:
    """Whether a model reads texts with images in them."""
    both = {"input_ids", "pixel_values"} <= (accepted_names(model) or set())
    return both and model.main_input_name == "input_ids"


def without_idle_types(model: PreTrainedModel, names: Mapping[str, Any]) -> dict[str, Any]:
    """What a tokenizer wrote, without token types if the model knows none."""
    known = accepted_names(model)
    return {name: value for name, value in names.items() if name != "token_type_ids" or not known or name in known}


def _named(forward: Any) -> set[str]:
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return {name for name, one in parameters_of(forward).items() if one.kind in kinds}


def _says_something(value: Any) -> bool:
    try:
        return bool(torch.as_tensor(value).ne(0).any())
    except (TypeError, ValueError, RuntimeError):
        return True
