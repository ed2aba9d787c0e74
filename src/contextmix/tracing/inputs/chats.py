"""Lists of chat messages, as the text that a tokenizer's own template makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel

from contextmix.errors import BadInput


def is_chat(source: Any) -> bool:
    """Whether something is a list of chat messages: ``[{"role": …, "content": …}, …]``."""
    if isinstance(source, str | Mapping) or not isinstance(source, Sequence) or len(source) == 0:
        return False
    return all(isinstance(one, Mapping) and "role" in one and "content" in one for one in source)


def chat_text(model: PreTrainedModel, tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    """What a model reads of chat messages.

    A model that goes on with texts is asked for the answer: the text ends with what begins one (the template's
    generation prompt), unless the last message is the assistant's.

    Args:
        model: The model.
        tokenizer: Its tokenizer, or None.
        messages: In order.

    Raises:
        BadInput: If the tokenizer has no template for chats, its template refuses these, or a role is no text.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        lacking = "the model was loaded without a tokenizer" if tokenizer is None else "its tokenizer has no template"
        raise BadInput(
            f"Got a list of {len(messages)} chat messages, but {lacking}, so they cannot be turned into a text. Give "
            f"the text for the model to read, or set tokenizer.chat_template."
        )
    for one in messages:
        if not isinstance(one["role"], str):
            raise BadInput(f"The role of a chat message is a text such as 'user'; got {type(one['role']).__name__}.")
    answers = messages[-1]["role"] != "assistant" and model.get_output_embeddings() is not None  # type: ignore[no-untyped-call]
    try:
        found = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answers)
    except Exception as reason:  # a template is a programme of the model's makers
        raise BadInput(f"The tokenizer's template cannot render these chat messages: {reason}.") from reason
    return str(found)
