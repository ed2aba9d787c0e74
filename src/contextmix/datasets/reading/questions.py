"""One row that is to be answered: a question or a chat, what the answer may draw from, and perhaps the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contextmix.datasets.reading.rows import (
    LARGEST_TEXT,
    MISSING,
    Asked,
    Fields,
    Message,
    Problem,
    Row,
    identity,
    label_of,
    plain_value,
    repeated,
    short,
    text_of,
    type_of,
)
from contextmix.maths.whole import whole_number


def judged_question(
    number: int,
    where: str,
    found: Mapping[str, object] | Problem,
    fields: Fields,
    *,
    typed: bool = True,
    first: int | None = None,
) -> Row:
    """A row that asks something, with every check that needs no tokenizer; arguments as for `judged`.

    An empty cell of a file without types is no text, so that the model writes an answer that CSV leaves empty.

    Returns:
        The row; of several problems it names the first.

    Example:
        >>> fields = Fields(question="question", context="context", answer="answer")
        >>> judged_question(0, "a.jsonl:1", {"question": "Who ran?", "context": ["Tom ran."]}, fields).asked
        Asked(question='Who ran?', context=['Tom ran.'], answer=None)
        >>> judged_question(1, "a.jsonl:2", {"question": "Who ran?", "context": []}, fields).problem.kind
        'empty_context'
    """
    if isinstance(found, Problem):
        return Row(number, str(number), where, None, None, found)
    filled = found if typed else {name: value for name, value in found.items() if value != ""}
    question = _question(filled, fields)
    parts = [question, _context(filled, fields, question), _answer(filled, fields.answer)]
    label, name = label_of(found, fields.label, typed), identity(found, fields.id)
    problem = next((one for one in (*parts, label, name) if isinstance(one, Problem)), None)
    problem = repeated(first, name) if first is not None else problem
    known = str(number) if name is None or isinstance(name, Problem) else name
    asked: Any = None if problem is not None else Asked(*parts)  # type: ignore[arg-type]
    return Row(number, known, where, None, None if isinstance(label, Problem) else label, problem, asked=asked)


def _question(found: Mapping[str, object], fields: Fields) -> str | list[Message] | Problem:
    """The only question of a row: of the columns that may hold one, the one that it fills."""
    names = [name for name in (fields.question, fields.messages) if name is not None]
    there = [name for name in names if plain_value(found.get(name)) is not None]
    if not there:
        return Problem("missing_question", f"The row has no question in {' or '.join(map(repr, names))}. {MISSING}")
    if len(there) > 1:
        said = f"The row has a question in {there[0]!r} and a chat in {there[1]!r}, so it is unclear which one to ask."
        return Problem("two_questions", f"{said} Leave one of them out, or name one column with question_field.")
    value = plain_value(found[there[0]])
    return text_of(found, there[0], words=False) if not isinstance(value, list) else _chat(value, there[0])


def _chat(value: list[Any], name: str) -> list[Message] | Problem:
    """A chat; tables give every message all columns, and those without a value are no part of it."""
    whole = bool(value) and all(isinstance(one, Mapping) for one in value)
    messages: list[Message] = (
        [{key: part for key, part in one.items() if part is not None} for one in value] if whole else []
    )
    if not messages or not all({"role", "content"} <= one.keys() for one in messages):
        said = f"The chat {name!r} is {short(value)}. Write a list of messages, each with a role and a content."
        return Problem("wrong_chat", said)
    for one in messages:
        content = text_of(one, "content", words=False)
        if isinstance(content, Problem):
            return Problem(content.kind, f"In a message of the chat {name!r}: {content.reason}")
        if not isinstance(one["role"], str):
            return Problem("wrong_chat", f"The role of a message in {name!r} is {type_of(one['role'])}, and no text.")
    return messages


def _context(found: Mapping[str, object], fields: Fields, question: object) -> str | list[Any] | Problem | None:
    name = fields.context
    value = None if name is None else plain_value(found.get(name))
    if name is None or (value is None and isinstance(question, list)):
        return None  # of a chat, all messages but the last are the context
    if value is None:
        said = f"The row has no context in {name!r}. Without one the question would be its own source, and the row of"
        return Problem("missing_context", f"{said} another kind than the others. {MISSING}")
    if isinstance(value, str):
        if not value.strip():
            return Problem("empty_context", f"The context {name!r} holds only white space. {MISSING}")
        return text_of(found, name, words=False)
    if not isinstance(value, list):
        said = f"The context {name!r} is {type_of(value)}, {short(value)}. Write a text or a list of texts into it."
        return Problem("wrong_type", said)
    return _texts(value, name)


def _texts(value: list[Any], name: str) -> list[Any] | Problem:
    """Texts of a context, or spans of the question."""
    if not value:
        return Problem("empty_context", f"The context {name!r} is an empty list. {MISSING}")
    if all(_is_span(one) for one in value):
        return [list(one) for one in value]
    if sum(len(one) for one in value if isinstance(one, str)) > LARGEST_TEXT:
        said = f"The context {name!r} holds more than {LARGEST_TEXT:,} characters, and so many are not tokenised."
        return Problem("oversized_text", f"{said} Give fewer or shorter texts.")
    for place, one in enumerate(value):
        text = text_of({"text": one}, "text", words=False)
        if isinstance(text, Problem):
            kind = "empty_context" if text.kind == "empty_text" else text.kind
            return Problem(kind, f"Text {place} of the context {name!r} (counted from 0) is {short(one)}. {MISSING}")
    return value


def _is_span(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(whole_number(one) is not None for one in value)


def _answer(found: Mapping[str, object], name: str | None) -> str | Problem | None:
    if name is None or plain_value(found.get(name)) is None:
        return None
    text = text_of(found, name, words=False)
    if isinstance(text, Problem) and text.kind == "empty_text":
        said = f"The answer {name!r} contains only white space, so no part of it can have a source."
        return Problem("empty_answer", f"{said} Fill it in, or set it to null to let the model write one.")
    return text
