"""Thoughts: what a model wrote before its answer, told apart from it by the marks that models put between the two.

Marks count where a model puts them: the first one begins the reply, or ends the prompt (some templates write it for the
model). The same signs inside a source, a question or an answer are text as any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contextmix.errors import BadFile, BadInput, BadOption, refuse_kinds
from contextmix.maths.relayed import Hops
from contextmix.maths.whole import plain, whole_number
from contextmix.tokens.sections import Span, checked_spans

MARKERS = "markers"
NONE = "none"
Ends = str | re.Pattern[str] | Span
"""What tells thoughts from the answer: `MARKERS`, `NONE`, a text or pattern between the two, or where they stand."""

_MARKS = tuple(
    (re.compile(begin), re.compile(end))
    for begin, end in (
        (r"<(?:seed:)?think>", r"</(?:seed:)?think>"),  # DeepSeek R1, Qwen 3, GLM, SmolLM 3, Phi 4; Seed
        (r"<thinking>", r"</thinking>"),
        (r"<thought>", r"</thought>"),  # EXAONE Deep
        (r"<reasoning>", r"</reasoning>"),
        (r"\[THINK\]", r"\[/THINK\]"),  # Magistral
        (r"◁think▷", r"◁/think▷"),  # Kimi
        (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>(?:\s*<\|START_RESPONSE\|>)?"),  # Command A
        (  # gpt-oss: whatever channels it writes before the last one
            r"<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>",
            r"(?:<\|end\|>\s*)?(?:<\|start\|>assistant\s*)?<\|channel\|>final[^<]*<\|message\|>",
        ),
        (r"<\|channel>thought\b", r"<channel\|>"),  # Gemma 4
        (r"Here(?:'s| is) my thought process:", r"Here(?:'s| is) my response:"),  # Granite
    )
)


@dataclass(frozen=True)
class Thoughts:
    """Where a model thought, in the text of the prompt and all that it wrote.

    Attributes:
        begins: Where its reply begins, and the prompt ends.
        start: Where the thoughts begin, behind their mark and white space.
        stop: One past their last character; equal to ``start`` where it thought nothing.

    Example:
        >>> Thoughts(4, 11, 15).span
        (11, 15)
    """

    begins: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        refuse_kinds(self, begins=int, start=int, stop=int)
        if not 0 <= self.begins <= self.start <= self.stop:
            raise BadInput(
                f"Thoughts from {self.start} to {self.stop} of a reply that begins at {self.begins} are no part of it."
            )

    @property
    def span(self) -> Span:
        """First character, and one past the last."""
        return self.start, self.stop

    def to_dict(self) -> dict[str, int]:
        """All fields as JSON values."""
        return {"begins": self.begins, "start": self.start, "stop": self.stop}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Thoughts:
        """The inverse of `to_dict`; raises `BadFile` if a field is missing or of another type."""
        found = [fields.get(name) if isinstance(fields, Mapping) else None for name in ("begins", "start", "stop")]
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in found):
            raise BadFile("Thoughts need the whole numbers 'begins', 'start' and 'stop'.")
        begins, start, stop = (int(one) for one in found if one is not None)
        return cls(begins, start, stop)


def plain_ends(ends: Any) -> Ends:
    """What tells thoughts from the answer, as somebody gave it.

    Raises:
        BadOption: If it is something else.
        BadInput: If it is a span of numbers that are none.

    Example:
        >>> plain_ends("Answer:"), plain_ends([0, 12])
        ('Answer:', (0, 12))
    """
    if isinstance(ends, re.Pattern) and isinstance(ends.pattern, str):
        return ends
    if isinstance(ends, str) and ends.strip():
        return ends
    span = plain(ends)
    numbers = [whole_number(one) for one in span] if isinstance(span, list | tuple) else []
    if len(numbers) == 2 and numbers[0] is not None and numbers[1] is not None:
        return numbers[0], numbers[1]
    raise BadOption(
        f"thoughts={ends!r:.60} does not tell thoughts from an answer. Say {MARKERS!r} (those of usual models), "
        f"{NONE!r} (all is the answer), the text or the compiled pattern that stands between the two, or the span "
        "(first character, one past the last) of the thoughts in what was written."
    )


def plain_hops(hops: Any) -> Hops:
    """How often what an answer draws from its thoughts is passed on.

    Raises:
        BadOption: If it is no number from 0 on, and not ``"all"``.
    """
    number = whole_number(hops)
    if isinstance(hops, str) and hops == "all":
        return "all"
    if number is None or number < 0:
        raise BadOption(
            f"hops={hops!r:.40}: what an answer draws from its thoughts is passed on 0, 1, 2, … times, or 'all' the "
            "way."
        )
    return number


def thoughts_in(reply: str, prompt: str, ends: Ends) -> tuple[Span, int] | None:
    """Where the thoughts of a reply stand, and where its answer begins.

    Args:
        reply: All that was written, marks included.
        prompt: What stands before it.
        ends: From `plain_ends`.

    Returns:
        The span of the thoughts without white space around, and the first character of the answer; None where the
        reply is an answer and nothing else.

    Raises:
        BadInput: If thoughts do not end, no answer follows them, or a span does not fit.

    Example:
        >>> thoughts_in("<think>A ball is red.</think>Red.", "What is red?", "markers")
        ((7, 21), 29)
        >>> thoughts_in("The mark </think> ends it.", "Which mark?", "markers")
    """
    found = _told_apart(reply, prompt, ends)
    if found is None:
        return None
    (start, stop), begins = found
    inner, rest = reply[start:stop], reply[begins:]
    if not rest.strip():
        raise BadInput(
            f"The thoughts end ({inner.strip()[-60:]!r}), and no answer follows them, so there is nothing to explain. "
            "Let the model write more with max_new_tokens, or say thoughts='none' to explain the thoughts."
        )
    start += len(inner) - len(inner.lstrip())
    return (start, max(start, stop - len(inner) + len(inner.rstrip()))), begins + len(rest) - len(rest.lstrip())


def _told_apart(reply: str, prompt: str, ends: Ends) -> tuple[Span, int] | None:
    if ends == NONE:
        return None
    if isinstance(ends, tuple):
        ((start, stop),) = checked_spans([ends], len(reply))
        return (start, stop), stop
    if ends == MARKERS:
        return _marked(reply, prompt)
    pattern = ends if isinstance(ends, re.Pattern) else re.compile(re.escape(ends))
    end = pattern.search(reply)
    if end is None:
        raise BadInput(
            f"{pattern.pattern!r:.60} was to end the thoughts, and does not stand in what was written "
            f"({reply.strip()[-60:]!r} at the end), so nobody knows where the answer begins. Let the model write more "
            "with max_new_tokens, or say thoughts='none' to explain all of it."
        )
    return (0, end.start()), end.end()


def _marked(reply: str, prompt: str) -> tuple[Span, int] | None:
    """Thoughts between the marks of a usual model."""
    first = len(reply) - len(reply.lstrip())
    for begin, end in _MARKS:
        opened = begin.match(reply, first)
        before = None if opened else re.search(f"(?:{begin.pattern})\\s*$", prompt[-80:])
        if opened is None and before is None:
            continue
        start = 0 if opened is None else opened.end()
        closed = end.search(reply, start)
        if closed is None:
            mark = (opened or before)[0].strip()  # type: ignore[index]
            raise BadInput(
                f"The model began to think ({mark}) and had not ended when it stopped, so there is no answer yet. Let "
                "it write more with max_new_tokens, or say thoughts='none' to explain the thoughts themselves."
            )
        return (start, closed.start()), closed.end()
    return None
