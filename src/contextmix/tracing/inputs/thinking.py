"""Where a model thought before it answered, told by the marks among the tokens that it wrote."""

from __future__ import annotations

from typing import Any

from contextmix.tokens.pieces import Tokens
from contextmix.tokens.thoughts import Ends, Thoughts, thoughts_in


def thinking_in(tokenizer: Any, tokens: Tokens, count: int, begins: int, ends: Ends) -> tuple[Thoughts | None, int]:
    """The thoughts of a reply, and where its answer begins in the text of the tokens.

    Args:
        tokenizer: Hugging Face's.
        tokens: Prompt and reply, from `with_reply`.
        count: How many tokens the prompt has.
        begins: Where the reply begins in the text.
        ends: What tells thoughts from the answer.

    Raises:
        BadInput: As `thoughts_in` does.
    """
    text = str(tokens.text)
    if isinstance(ends, tuple):  # characters are counted in the text that people see
        reply, places = text[begins:], list(range(begins, len(text) + 1))
    else:
        reply, places = _with_marks(tokenizer, tokens, count, begins)
    found = thoughts_in(reply, text[:begins], ends)
    if found is None:
        return None, begins
    (start, stop), answer = found
    return Thoughts(begins, places[start], places[stop]), places[answer]


def _with_marks(tokenizer: Any, tokens: Tokens, count: int, begins: int) -> tuple[str, list[int]]:
    """A reply with the special tokens that its text leaves out, and where each of its characters stands in the text."""
    text, marks = str(tokens.text), set(tokenizer.all_special_ids)
    reply, places, at, end = "", list[int](), begins, begins
    for number, span in zip((tokens.ids or ())[count:], (tokens.spans or ())[count:], strict=True):
        if span is not None:
            end = max(end, span[1])
        elif number in marks:
            mark = str(tokenizer.convert_ids_to_tokens(number))
            if text[end:].lstrip().startswith(mark):  # a text that was given holds it
                end = text.index(mark, end) + len(mark)
                continue
            reply += text[at:end] + mark
            places += [*range(at, end), *[end] * len(mark)]
            at = end
    return reply + text[at:], [*places, *range(at, len(text) + 1)]
