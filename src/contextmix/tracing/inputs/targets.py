"""Which score is explained: a class by its name, or a token of the vocabulary by its text, alone or against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import AmbiguousTarget, BadOption, NotInVocabulary, UnknownName
from contextmix.options.values import Asked
from contextmix.traces.meaning import Meaning
from contextmix.traces.target import Target
from contextmix.tracing.inputs.heads import answers_questions, spells
from contextmix.tracing.inputs.heads import class_scores as class_scores
from contextmix.tracing.inputs.heads import speaks as speaks
from contextmix.tracing.inputs.heads import token_scores as token_scores
from contextmix.tracing.inputs.spelled import byte_name, is_broken, text_of, whole
from contextmix.tracing.recording.scores import ENDS

_SPACES = ("\u2581", "\u0120")
"""How SentencePiece and byte-level tokenizers write a space inside a piece."""


class Names(Protocol):
    """The names of all scores."""

    def name(self, number: int) -> str:
        """What a score is called."""

    def number(self, asked: int | str) -> int:
        """The score of this name or number."""


def choose(asked: Asked, scores: Tensor, names: Names, meaning: Meaning = Meaning.ONE_OF) -> Target:
    """The explained score.

    Args:
        asked: A name, a number, or two of these to contrast; None for the predicted one, or the only one.
        scores: (class,).
        names: What they are called.
        meaning: What they are.

    Raises:
        UnknownName: If there is no such class.
        NotInVocabulary: If there is no such token.
        AmbiguousTarget: If a text names more than one token.
        BadOption: If the two of a contrast are the same, or it is not two, or none is named where none is predicted.
    """
    if asked is None:
        if len(scores) > 1 and not meaning.has_probability:
            listed = ", ".join(f"{number}: {names.name(number)}" for number in range(len(scores)))
            raise BadOption(
                f"The {len(scores)} outputs of this model are independent, so the largest is not a prediction and it "
                f"is unclear which one to explain. Name one as the target, of {listed}."
            )
        number = int(scores.argmax())
        return Target(number, names.name(number))
    if not isinstance(asked, tuple | list):
        number = names.number(asked)
        return Target(number, names.name(number))
    if len(asked) != 2:
        raise BadOption(f"A contrast is of two, such as target=('positive', 'negative'); got {len(asked)}: {asked!r}.")
    target, foil = (names.number(one) for one in asked)
    if target == foil:
        raise BadOption(
            f"target={asked!r} contrasts {names.name(target)!r} with itself, and that difference is zero whatever the "
            "tokens are. Name two different ones."
        )
    return Target(target, names.name(target), foil, names.name(foil))


@dataclass(frozen=True)
class Classes:
    """The classes of a classifier.

    Attributes:
        names: In order.
    """

    names: tuple[str, ...]

    def name(self, number: int) -> str:
        """See `Names`."""
        return self.names[number]

    def number(self, asked: int | str) -> int:
        """See `class_number`."""
        return class_number(asked, self.names)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a language model may say.

    Attributes:
        tokenizer: Its tokenizer, or None.
        size: How many scores there are; some may be of no token.
    """

    tokenizer: Any
    size: int

    def name(self, number: int) -> str:
        """The token's text as it reads in a sentence, with the space in front of a word."""
        return token_text(self.tokenizer, number)

    def number(self, asked: int | str) -> int:
        """A token by its id or its text.

        A text is the token with exactly these letters and spaces; without a space in front, also the one that begins a
        word with them. Digits that are no token are an id.

        Raises:
            NotInVocabulary: If no token has this text or id, or it takes more than one.
            AmbiguousTarget: If the text is a token with a space in front and one without.
        """
        if isinstance(asked, int):
            return self._checked(asked)
        if self.tokenizer is None:
            if asked.isdigit():
                return self._checked(int(asked))
            raise BadOption(
                f"target={asked!r} is a text, but the model was loaded without a tokenizer, so its id is unknown. "
                "Give the id, or pass a tokenizer to contextmix.load."
            )
        found = self._spelled(asked)
        if len(found) > 1:
            raise AmbiguousTarget(asked, {number: self.name(number) for number in found})
        if found:
            return found[0]
        if asked.isdigit() and int(asked) < self.size:
            return int(asked)
        ids = self.tokenizer(asked, add_special_tokens=False)["input_ids"]
        raise NotInVocabulary(asked, self.size, {number: self.name(number) for number in ids})

    def _checked(self, number: int) -> int:
        if not 0 <= number < self.size:
            raise NotInVocabulary(number, self.size)
        return number

    def _spelled(self, asked: str) -> list[int]:
        """The ids of the tokens that a text may mean."""
        pieces = self.tokenizer.get_vocab()
        word = asked.removeprefix(" ")
        spellings = [asked, *(space + word for space in _SPACES)]
        found = [pieces[piece] for piece in spellings if piece in pieces]
        for text in {asked, " " + word}:  # byte-level pieces spell letters beyond English in a code of their own
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            found += ids if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id else []
        return sorted({number for number in found if number < self.size})


def token_text(tokenizer: Any, number: int) -> str:
    """A token as it reads in running text, with its space; its number where there is no text.

    Args:
        tokenizer: Hugging Face's, or None.
        number: The id.
    """
    piece = _piece(tokenizer, number)
    if piece is None:
        return str(number)
    if piece.startswith(_SPACES[0]):
        return str(piece.replace(_SPACES[0], " "))
    if piece.startswith("##") or number in tokenizer.all_special_ids:
        return str(piece)
    text = text_of(tokenizer, [piece])
    return byte_name(str(piece)) if is_broken(text) else text


def texts_of(tokenizer: Any, numbers: Sequence[int]) -> tuple[str, ...]:
    """Tokens that follow each other as they read in running text; those that are one character together all bear it."""
    pieces = [_piece(tokenizer, number) for number in numbers]
    parts = [
        piece is not None and _is_part(tokenizer, number, piece) for number, piece in zip(numbers, pieces, strict=True)
    ]
    labels = [None if part else token_text(tokenizer, number) for number, part in zip(numbers, parts, strict=True)]
    return whole(tokenizer, [piece or "" for piece in pieces], labels)


def _piece(tokenizer: Any, number: int) -> str | None:
    return None if tokenizer is None or number >= len(tokenizer) else tokenizer.convert_ids_to_tokens(number)


def _is_part(tokenizer: Any, number: int, piece: str) -> bool:
    """Whether a token is some bytes of a character."""
    plain = piece.startswith(("##", _SPACES[0])) or number in tokenizer.all_special_ids
    return not plain and is_broken(text_of(tokenizer, [piece]))


def names_of(model: PreTrainedModel, tokenizer: Any, count: int) -> Classes | Vocabulary:
    """What the scores of a model are called: classes, tokens of its vocabulary, letters, or ends of an answer."""
    if answers_questions(model):
        return Classes(ENDS)
    if speaks(model):
        return Vocabulary(tokenizer, count)
    if spells(model):
        letters = (None if tokenizer is None else tokenizer.convert_ids_to_tokens(number) for number in range(count))
        return Classes(tuple(str(number) if letter is None else str(letter) for number, letter in enumerate(letters)))
    names: Mapping[int, str] = model.config.id2label or {}  # type: ignore[assignment, unused-ignore]
    return Classes(tuple(str(names.get(number, number)) for number in range(count)))


def classes_of(model: PreTrainedModel, tokenizer: Any) -> list[str]:
    """The names of all scores of a model that is no language model, as far as its configuration tells."""
    count = model.config.vocab_size if spells(model) else len(model.config.id2label or {})
    names = names_of(model, tokenizer, count)
    return list(names.names) if isinstance(names, Classes) else []


def class_number(target: int | str, names: tuple[str, ...]) -> int:
    """A class by its name, in any case where no other class is spelled so, or by its number.

    Raises:
        UnknownName: If there is no such class.
        BadOption: If two classes share the name.

    Example:
        >>> class_number("Positive", ("negative", "positive"))
        1
    """
    if isinstance(target, int) or (target.isdigit() and target not in names):
        if not 0 <= int(target) < len(names):
            raise UnknownName("class", str(target), [f"{number}: {name}" for number, name in enumerate(names)])
        return int(target)
    if names.count(target) > 1:
        raise BadOption(f"{names.count(target)} classes are called {target!r}; name one by its number.")
    alike = [number for number, name in enumerate(names) if name.casefold() == target.casefold()]
    if target not in names and len(alike) != 1:
        raise UnknownName("class", target, names)
    return names.index(target) if target in names else alike[0]
