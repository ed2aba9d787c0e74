"""Where a template for chats wrote a text, character by character.

A template is a programme of the model's makers: it may strip texts, escape signs, repeat or drop parts. So it is asked
twice, once with a mark in place of the text. What is then before and behind the mark shows where the text stands, also
if the same words stand elsewhere in the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contextmix.errors import BadInput
from contextmix.tokens.sections import Span

Messages = Sequence[Mapping[str, Any]]
Render = Callable[[Messages], str]
"""What a template makes of messages."""

_MARK = "contextmix{}mark"


def located(render: Render, messages: Messages, number: int, spans: Sequence[Span]) -> list[int]:
    """How far spans of a message's content are moved in what a template writes.

    Args:
        render: The template.
        messages: All of them.
        number: The message.
        spans: Of its content, in order, without overlap.

    Returns:
        For each span the number to add to its places.

    Raises:
        BadInput: If a text is not there as it was given.
    """
    content, rendered = messages[number]["content"], render(messages)
    before, behind = _around(render, messages, number)
    if rendered == before + content + behind:
        return [len(before)] * len(spans)
    if rendered == before + content.strip() + behind:
        return [len(before) - (len(content) - len(content.lstrip()))] * len(spans)
    start, stop = len(before), len(rendered) - len(behind)
    if not (rendered.startswith(before) and rendered.endswith(behind)):
        start, stop = 0, len(rendered)
    return _one_by_one(content, rendered, (start, stop), spans)


def is_altered(render: Render, messages: Messages, number: int) -> bool:
    """Whether a template changes any character of a message's content."""
    before, behind = _around(render, messages, number)
    return render(messages) != f"{before}{messages[number]['content']}{behind}"


def _one_by_one(content: str, rendered: str, within: Span, spans: Sequence[Span]) -> list[int]:
    """Spans of a content of which something else was changed."""
    start, stop = within
    moves = []
    for first, last in spans:
        own = content[first:last].strip()
        place = rendered.find(own, start, stop)
        if place < 0 or rendered.count(own, start, stop) != content.count(own, first):
            raise BadInput(
                f"The model's chat template changes the text {own!r:.80}, or repeats it, so its characters cannot be "
                "found in the prompt, and what other words did would be told of it. Write what the template does not "
                "change (some strip or escape signs), give the prompt as one text with context=[(start, stop), …], or "
                "say template='plain'."
            )
        moves.append(place - content.index(own, first))
        start = place + len(own)
    return moves


def _around(render: Render, messages: Messages, number: int) -> tuple[str, str]:
    """What a template writes before and behind a content."""
    mark = next(one for one in map(_MARK.format, range(10**6)) if not any(one in str(each) for each in messages))
    marked = [{**one, "content": mark} if place == number else one for place, one in enumerate(messages)]
    before, _, behind = render(marked).partition(mark)
    return before, behind
