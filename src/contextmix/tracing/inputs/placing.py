"""Context and question in a prompt: the model's own chat template places them, and each is found again.

Where a tokenizer has no template for chats, `PLAIN` is the template: the texts and the question with an empty line
between them, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from contextmix.errors import BadInput, BadOption
from contextmix.tokens.passages import Passage
from contextmix.tokens.sections import Span, checked_spans
from contextmix.tracing.inputs.chats import chat_text, is_chat
from contextmix.tracing.inputs.located import Messages, is_altered, located
from contextmix.tracing.inputs.pictured import refuse_image_sources

BETWEEN = "\n\n"
"""What stands between two texts of a context, and before the question."""
PLAIN = "{context}\n\n{question}"
"""Our template for models without one of their own."""
TEMPLATES = {"plain": PLAIN, "question": "{context}\n\nQuestion: {question}\nAnswer:"}
"""Templates of ours by name; ``chat`` is the tokenizer's own."""

_SLOT = re.compile(r"\{(context|question)\}")


@dataclass(frozen=True)
class Placed:
    """A prompt, and where the texts stand in it.

    Attributes:
        text: The prompt.
        passages: The texts that sources are cut from.
        question: Where the question stands; None where there is none apart from the texts.
        template: What placed them: ``chat``, a name of `TEMPLATES`, ``own``, or ``none`` for a prompt that was given.
        without: The same prompt without the texts; None where nothing is left.
        messages: What the chat template was given; nothing without one.
    """

    text: str
    passages: tuple[Passage, ...]
    question: Span | None
    template: str
    without: str | None
    messages: Messages = ()

    @property
    def is_chat(self) -> bool:
        """Whether a chat template wrote it, with the special tokens that the model wants."""
        return self.template == "chat"

    @property
    def add_special_tokens(self) -> bool | None:
        """How the prompt is to be encoded, unless somebody says otherwise."""
        return False if self.is_chat else None


@dataclass(frozen=True)
class Placer:
    """Puts texts and a question into a prompt.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        template: ``"chat"``, a name of `TEMPLATES`, or a text with ``{context}`` and ``{question}``; None: the
            tokenizer's own, or ``"plain"`` if it has none.
    """

    model: PreTrainedModel
    tokenizer: Any
    template: str | None = None

    def place(self, question: Any, context: Any, kept: Sequence[int] | None = None) -> Placed:
        """The prompt.

        Args:
            question: A text; or a chat, or with spans as context the whole prompt.
            context: Texts; or spans of the prompt that are the sources; or of a chat those in its messages that are.
                None: of a chat all messages but the last, and otherwise the question itself.
            kept: How many characters of each text to keep, from the first; a text of none is left out.

        Raises:
            BadInput: If there is nothing to read, a text is not found in what the template wrote, or spans do not fit.
            BadOption: If the template lacks a place.
        """
        refuse_image_sources(question, context)
        if is_chat(question):
            return self._chat(question, context)
        if not isinstance(question, str):
            raise BadInput(
                "A question is a text, or a chat such as [{'role': 'user', 'content': '…'}]; this is "
                f"{type(question).__name__}."
            )
        texts = [context] if isinstance(context, str) else context
        if texts is not None and len(texts) and not any(isinstance(one, str) for one in texts):
            return _marked(question, texts)
        if texts is None:
            refuse_empty([question], "question")
            return self._texts("", [question], kept) if self._name == "chat" else _alone(self._name, question)
        refuse_empty(texts, "context")
        return self._texts(question, texts, kept)

    def render(self, messages: Messages) -> str:
        """What the tokenizer's template makes of messages."""
        return chat_text(self.model, self.tokenizer, messages)

    def refuse_altered(self, placed: Placed, answer: str) -> None:
        """An answer that the model's template would write otherwise: then the model never reads it so.

        Raises:
            BadInput: With what to give instead.
        """
        if not placed.is_chat:
            return
        messages = [*placed.messages, {"role": "assistant", "content": answer}]
        try:
            altered = is_altered(self.render, messages, len(messages) - 1)
        except BadInput:  # a template that takes no answer says nothing of how it would write one
            return
        if altered:
            hint = f" Give it as {answer.strip()!r:.80}." if answer != answer.strip() else ""
            raise BadInput(
                f"The model's chat template changes the answer {answer!r:.80}: the chat would contain other "
                f"characters, so the model would never read this answer.{hint}"
            )

    @property
    def _name(self) -> str:
        has_own = getattr(self.tokenizer, "chat_template", None) is not None
        return self.template or ("chat" if has_own else "plain")

    def _texts(self, question: str, texts: Sequence[str], kept: Sequence[int] | None) -> Placed:
        lengths = [len(one) for one in texts] if kept is None else kept
        passages, context = [], ""
        for text, length in zip(texts, lengths, strict=True):
            context += BETWEEN if context and length else ""
            passages.append(Passage(text, len(context) if length else None, None if length == len(text) else length))
            context += text[:length]
        if self._name != "chat":
            return _written(self._name, context, question, passages)
        content = BETWEEN.join(part for part in (context, question) if part.strip())
        messages = [{"role": "user", "content": content}]
        asked = [(len(content) - len(question.lstrip()), len(content.rstrip()))] if question.strip() else []
        places = [one.place((0, one.length)) for one in passages if one.offset is not None]
        moves = located(self.render, messages, 0, [*places, *asked])
        following = iter(moves)
        moved = [one if one.offset is None else replace(one, offset=one.offset + next(following)) for one in passages]
        place = (asked[0][0] + moves[-1], asked[0][1] + moves[-1]) if asked else None
        alone = self.render([{"role": "user", "content": question}]) if asked else None
        return Placed(self.render(messages), tuple(moved), place, "chat", alone, messages)

    def _chat(self, messages: Messages, context: Any) -> Placed:
        for one in messages:
            if not isinstance(one["content"], str):
                raise BadInput(
                    f"The content of a message is {type(one['content']).__name__}, and sources are found in texts. "
                    "Give each content as one text."
                )
        text, own = self.render(messages), _in_messages(messages, context)
        passages = []
        for number, span in own:
            content = messages[number]["content"]
            offset = span[0] + located(self.render, messages, number, [span])[0]
            whole = span == (0, len(content))
            passages.append(
                Passage(content[slice(*span)], offset, None, str(messages[number]["role"]) if whole else "")
            )
        last, place = len(messages) - 1, None
        if last not in {number for number, _ in own}:
            content = messages[last]["content"]
            span = (len(content) - len(content.lstrip()), len(content.rstrip()))
            move = located(self.render, messages, last, [span])[0]
            place = (span[0] + move, span[1] + move)
        ordered = tuple(sorted(passages, key=lambda one: one.offset or 0))
        return Placed(text, ordered, place, "chat", self._without(messages, own), messages)

    def _without(self, messages: Messages, own: Sequence[tuple[int, Span]]) -> str | None:
        """The chat without its sources; messages of nothing else are left out."""
        left = []
        for number, one in enumerate(messages):
            content = one["content"]
            for _, (start, stop) in sorted((each for each in own if each[0] == number), reverse=True):
                content = content[:start] + content[stop:]
            if content.strip():
                left.append({**one, "content": content})
        return self.render(left) if left else None


def refuse_empty(texts: Sequence[Any], what: str) -> None:
    """Nothing to take sources from.

    Raises:
        BadInput: If there is no text, or one of white space, or something else among them.
    """
    if len(texts) == 0:
        raise BadInput(f"The {what} holds no text, so there is no source. Give one text at least.")
    for number, one in enumerate(texts):
        if not isinstance(one, str):
            raise BadInput(f"Entry {number} of the {what} is {type(one).__name__}. Give texts alone, or spans alone.")
        if not one.strip():
            raise BadInput(f"Text {number} of the {what} is empty (or only spaces), so it cannot be a source.")


def _marked(prompt: str, spans: Sequence[Any]) -> Placed:
    """A whole prompt, of which spans are the sources."""
    found = checked_spans(spans, len(prompt), prompt)
    rest = prompt
    for start, stop in reversed(found):
        rest = rest[:start] + rest[stop:]
    passages = tuple(Passage(prompt[start:stop], start) for start, stop in found)
    return Placed(prompt, passages, None, "none", rest if rest.strip() else None)


def _alone(name: str, question: str) -> Placed:
    """The prompt of a question that is itself what sources are taken from."""
    text, places = _filled(_template(name, question), {"context": "", "question": question})
    return Placed(text, (Passage(question, places["question"]),), None, name if name in TEMPLATES else "own", None)


def refuse_template(name: str | None) -> None:
    """Refuse (`BadOption`) a template that places no question, before there is one; see `Placer.template`.

    Example:
        >>> refuse_template("{context} {qustion}")
        Traceback (most recent call last):
        contextmix.errors.BadOption: template='{context} {qustion}' is none of chat, plain, question, and no text...
    """
    if name not in (None, "chat"):
        _template(name, "?")


def _template(name: str, question: str) -> str:
    """A template by its name, or the text of one."""
    template = TEMPLATES.get(name, name)
    slots = [found[1] for found in _SLOT.finditer(template)]
    if sorted(slots) not in (["context"], ["context", "question"]) or (question.strip() and "question" not in slots):
        raise BadOption(
            f"template={name!r:.80} is none of chat, {', '.join(TEMPLATES)}, and no text that holds {{context}} and "
            "{question} once each."
        )
    return template


def _written(name: str, context: str, question: str, passages: Sequence[Passage]) -> Placed:
    """The prompt that a template of ours, or of the user's, makes."""
    template = _template(name, question)
    text, places = _filled(template, {"context": context, "question": question})
    start = places["context"]
    moved = [one if one.offset is None else replace(one, offset=one.offset + start) for one in passages]
    place = (places["question"], places["question"] + len(question)) if question.strip() else None
    alone = _filled(template, {"context": "", "question": question})[0] if question.strip() else None
    return Placed(text, tuple(moved), place, name if name in TEMPLATES else "own", alone)


def _filled(template: str, parts: Mapping[str, str]) -> tuple[str, dict[str, int]]:
    """The text, and where each part begins in it; where a part is empty, the empty lines beside it go too."""
    found, places, last = "", {}, 0
    for slot in _SLOT.finditer(template):
        between = template[last : slot.start()]
        found += between if found.strip() else between.lstrip()
        places[slot[1]] = len(found)
        found += parts[slot[1]]
        last = slot.end()
    rest = found + template[last:]
    return (rest if parts.get("question", "").strip() else rest.rstrip()), places


def _in_messages(messages: Messages, context: Any) -> list[tuple[int, Span]]:
    """Which spans of which messages are the sources."""
    if context is None:
        chosen = range(len(messages) - 1) if len(messages) > 1 else range(1)
        found = [(number, (0, len(messages[number]["content"]))) for number in chosen]
        found = [one for one in found if messages[one[0]]["content"].strip()]
        if not found:
            raise BadInput("The messages before the last one are empty, so there is no source.")
        return found
    texts = [context] if isinstance(context, str) else context
    refuse_empty(texts, "context")
    own = []
    for text in texts:
        places = [
            (number, (at.start(), at.start() + len(text)))
            for number, one in enumerate(messages)
            for at in re.finditer(re.escape(text), one["content"])
        ]
        if len(places) != 1:
            raise BadInput(
                f"The text {text!r:.60} of the context stands {len(places)} times in the messages, and must stand "
                "there once: of a chat, the context says which of its texts are the sources."
            )
        own += places
    return own
