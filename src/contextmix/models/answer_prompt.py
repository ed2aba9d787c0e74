"""The prompt of an answer: as many sources of the context as the model reads before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from contextmix.errors import BadInput, SourcesDoNotFit
from contextmix.maths.whole import plain
from contextmix.models.loaded_model import LoadedModel
from contextmix.tokens.passages import cut_passages
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.sections import By, Section
from contextmix.tracing.inputs.chats import is_chat
from contextmix.tracing.inputs.placing import Placed, Placer
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.texts import encode


@dataclass(frozen=True)
class Question:
    """What was asked; see `TracedModel.explain_answer`.

    Attributes:
        question: A text, a chat, or a whole prompt.
        context: Texts, spans, or None.
        answer: A text, or None for the model's own.
        sources: How the context is cut.
        units: How the answer is cut.
        options: Those of `contextmix.options.verbs.AnswerOptions`.
    """

    question: Any
    context: Any
    answer: str | None
    sources: By
    units: By
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", _plain_context(self.context))

    @property
    def can_be_cut(self) -> bool:
        """Whether the context is texts of which the last ones can be left out."""
        texts = isinstance(self.context, str) or all(isinstance(one, str) for one in self.context or [None])
        return texts and not is_chat(self.question)


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model reads it.

    Attributes:
        placed: Its text, and where the texts of the context stand in it.
        tokens: Its tokens.
        add_special_tokens: How it was encoded.
    """

    placed: Placed
    tokens: Tokens
    add_special_tokens: bool | None


def _plain_context(context: Any) -> Any:
    """A context as a text, a list, or None."""
    found = plain(context)
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, Sequence) and not isinstance(found, bytes | bytearray):
        return list(found)
    raise BadInput(
        "A context is a text, a list of texts, or spans [(first character, one past the last), …] of the prompt; this "
        f"is {type(context).__name__}."
    )


def fitting(loaded: LoadedModel, placer: Placer, asked: Question) -> Prompt:
    """The prompt; where the context is too long, with as many sources as fit, from the first.

    Args:
        loaded: The model.
        placer: What makes prompts.
        asked: The question.

    Raises:
        SourcesDoNotFit: If not all of them fit, and none may be cut or none fits.
    """
    whole = read(loaded, placer.place(asked.question, asked.context), asked)
    if (room := _room(loaded, whole, asked)) >= 0:
        return whole
    sections = cut_passages(whole.placed.passages, asked.sources, whole.tokens.spans or ())[0]
    best, kept, lost = None, 0, len(sections) if asked.can_be_cut else 1
    while lost - kept > 1:  # so many fit, and so many do not
        middle = (kept + lost) // 2
        lengths = _lengths(len(whole.placed.passages), sections[:middle])
        shorter = read(loaded, placer.place(asked.question, asked.context, lengths), asked)
        if _room(loaded, shorter, asked) >= 0:
            best, kept = shorter, middle
        else:
            lost = middle
    if best is None or not asked.options["truncate"]:
        limit = loaded.limit or 0
        told = f"{len(whole.tokens)} tokens, the answer up to {limit - room - len(whole.tokens) + 1}"
        _refuse(f"The prompt has {told}, and the model reads at most {limit}.", sections, kept, asked)
    return best


def _refuse(told: str, sections: Sequence[Section], kept: int, asked: Question) -> NoReturn:
    """A context that does not fit: which of its sources would have to go."""
    if kept:
        lost = [f"{number} {one.text!r:.40}" for number, one in enumerate(sections)][kept:]
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise SourcesDoNotFit(
            f"{told} The first {kept} of {len(sections)} sources fit; these would be dropped: "
            f"{', '.join(lost[:5])}{more}. "
            "Use truncate=True (--truncate in a terminal) to drop them, or give a shorter context or answer."
        )
    if asked.can_be_cut:
        raise SourcesDoNotFit(
            f"{told} Not even one source fits beside the question and the answer. Shorten one of them; if the model "
            f"writes the answer, lower max_new_tokens."
        )
    raise SourcesDoNotFit(
        f"{told} A prompt, chat or question without separate sources is not truncated. Shorten it or the answer; if "
        f"the model writes the answer, lower max_new_tokens."
    )


def read(loaded: LoadedModel, placed: Placed, asked: Question) -> Prompt:
    """A prompt with its tokens, however many there are."""
    given = asked.options["add_special_tokens"]
    added = placed.add_special_tokens if given is None else given
    return Prompt(placed, tokens_of(loaded, placed.text, added), added)


def tokens_of(loaded: LoadedModel, text: str, add_special_tokens: bool | None) -> Tokens:
    """The tokens of a text, however many there are."""
    known = vocabulary(loaded.model)
    found = encode(loaded.tokenizer, text, None, add_special_tokens=add_special_tokens, known=known).tokens
    assert found is not None  # texts have tokens
    return found


def _room(loaded: LoadedModel, prompt: Prompt, asked: Question) -> int:
    """How many tokens more would fit; the last token of an answer need not be read."""
    if loaded.limit is None:
        return 0
    count = asked.options["max_new_tokens"]
    if asked.answer is not None:
        text = prompt.placed.text + asked.answer
        count = len(tokens_of(loaded, text, prompt.add_special_tokens)) - len(prompt.tokens)
    return int(loaded.limit - len(prompt.tokens) - count + 1)


def _lengths(count: int, kept: Sequence[Section]) -> list[int]:
    """How many characters of each text hold the sections that are kept."""
    found = [0] * count
    for one in kept:
        found[one.document] = max(found[one.document], one.stop)
    return found
