"""Every exception of contextmix and the sentence it says.

A sentence has four parts: what was asked, what was found, why it matters, what to do. Nothing here warns: where a
number would be wrong, contextmix raises. All exceptions derive from `ContextMixError`, so one ``except`` catches them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class ContextMixError(Exception):
    """Anything that contextmix refuses to do, with the reason and the way out."""

    def __str__(self) -> str:
        """The sentence as any console can print it: of names that are not UTF-8, the odd bytes as escapes."""
        return super().__str__().encode("utf-8", "backslashreplace").decode()

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is sent to another process: by its sentence, as most constructors take other arguments."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[ContextMixError], args: tuple[Any, ...], state: Mapping[str, Any]) -> ContextMixError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


CLOSE = 0.7
"""How alike two names must be for one to be suggested for the other, from 0 to 1. Two letters that changed places leave
.75 of a name of four; at .6, norm would be suggested for random."""


def near_misses(asked: object, known: Iterable[str], most: int = 3) -> list[str]:
    """Which known names are called almost so; none for what is no text.

    Example:
        >>> near_misses("globbenc", ["globenc", "norm"]), near_misses("random", ["norm"]), near_misses(3, ["norm"])
        (['globenc'], [], [])
    """
    return difflib.get_close_matches(asked, list(known), most, CLOSE) if isinstance(asked, str) else []


def did_you_mean(near: Sequence[str]) -> str:
    """The sentence that suggests names; empty for none."""
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def suggestion(asked: object, known: Iterable[object]) -> str:
    """The end of a sentence about an unknown name: near misses first, then all known names."""
    names = sorted(map(str, known))
    return f"{did_you_mean(near_misses(asked, names))} Known: {', '.join(names)}."


def refuse_kind(what: str, value: object, *kinds: type) -> None:
    """Refuse a call with something of another kind than is needed, as Python does: by a `TypeError`.

    Args:
        what: Whose argument it is and which one, such as ``"aggregate: token_map"``.
        value: What was given.
        kinds: What it may be.

    Example:
        >>> refuse_kind("bars: token_map", "a film", int, float)
        Traceback (most recent call last):
        TypeError: bars: token_map must be int or float; got str.
    """
    if not isinstance(value, kinds):
        names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise TypeError(f"{what} must be {names}; got {type(value).__name__}.")


def refuse_kinds(one: object, **fields: type | tuple[type, ...]) -> None:
    """The same of the fields of an object that someone made: field → what it may be.

    Example:
        >>> refuse_kinds(slice(0, "a"), start=int, stop=int)
        Traceback (most recent call last):
        TypeError: slice: stop must be int; got str.
    """
    for name, kinds in fields.items():
        own = kinds if isinstance(kinds, tuple) else (kinds,)
        refuse_kind(f"{type(one).__name__}: {name}", getattr(one, name), *own)


def refuse_entries(what: str, values: object, *kinds: type) -> None:
    """The same of the entries of a list or tuple.

    Example:
        >>> refuse_entries("Anatomy: blocks", [1, "a"], int)
        Traceback (most recent call last):
        TypeError: An entry of Anatomy: blocks must be int; got str.
    """
    refuse_kind(what, values, list, tuple)
    for value in values:  # type: ignore[attr-defined]
        refuse_kind(f"An entry of {what}", value, *kinds)


def refuse_named(what: str, values: object, *kinds: type) -> None:
    """The same of the values of a mapping."""
    refuse_kind(what, values, Mapping)
    for value in values.values():  # type: ignore[attr-defined]
        refuse_kind(f"A value of {what}", value, *kinds)


# Names ---------------------------------------------------------------------------------------------------------------


class UnknownName(ContextMixError):
    """A method, aggregation or option that does not exist."""

    def __init__(self, kind: str, asked: object, known: Iterable[object]) -> None:
        super().__init__(f"There is no {kind} {asked!r:.80}.{suggestion(asked, known)}")


class BadOption(ContextMixError):
    """An option whose value is not allowed, or options that contradict each other."""


# Tokens --------------------------------------------------------------------------------------------------------------


class UnknownToken(ContextMixError):
    """A token that the input does not contain."""

    def __init__(self, asked: str | int, pieces: Sequence[str]) -> None:
        if isinstance(asked, int):
            found = (
                f"the input has {len(pieces)} tokens, so positions go from 0 to {len(pieces) - 1} (or -1 backwards)."
            )
            super().__init__(f"There is no token at position {asked}: {found}")
            return
        hint = did_you_mean(near_misses(asked, pieces))
        listed = " ".join(f"{position}:{piece}" for position, piece in enumerate(pieces[:40]))
        more = " …" if len(pieces) > 40 else ""
        super().__init__(f"The input has no token {asked!r}.{hint} Its tokens are {listed}{more}")


class AmbiguousToken(ContextMixError):
    """A token asked for by its text that occurs more than once."""

    def __init__(self, asked: str, positions: Sequence[int]) -> None:
        listed = ", ".join(map(str, positions))
        super().__init__(
            f"The token {asked!r} occurs {len(positions)} times, at positions {listed}, and each has its own row. "
            f"Choose one by its position, for example {positions[0]}."
        )


class NotInVocabulary(ContextMixError):
    """A token to explain that the model cannot say as one token."""

    def __init__(self, asked: int | str, size: int, pieces: Mapping[int, str] | None = None) -> None:
        if isinstance(asked, int):
            super().__init__(
                f"There is no token with the id {asked}: the model scores {size} tokens, with ids from 0 to {size - 1}."
            )
            return
        if not pieces or len(pieces) == 1:
            found = "its tokenizer has no token for it"
            hint = "Name another token, by its text or id."
        else:
            listed = ", ".join(f"{text!r} ({number})" for number, text in pieces.items())
            first = next(iter(pieces))
            found = f"it consists of {len(pieces)} tokens, {listed}"
            hint = f"The model scores one token at a time. To explain the first of them, use target={first}."
        super().__init__(f"The text {asked!r} is not one token of the model's vocabulary: {found}. {hint}")


class AmbiguousTarget(ContextMixError):
    """A text that more than one token of the vocabulary has."""

    def __init__(self, asked: str, tokens: Mapping[int, str]) -> None:
        listed = " or ".join(f"{number} for {text!r}" for number, text in tokens.items())
        super().__init__(
            f"The vocabulary has {len(tokens)} tokens for {asked!r}, which differ by a leading space and have "
            f"separate scores. Choose one by its id: {listed}."
        )


# Files ---------------------------------------------------------------------------------------------------------------


class OutputExists(ContextMixError):
    """A file that would be overwritten."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"{path} already exists and would be lost. Choose another name, or use overwrite=True (--force in a "
            f"terminal)."
        )


class OutputUnwritable(ContextMixError):
    """A file that cannot be written."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"Cannot write {path}: {reason}. Nothing was written; choose an existing folder that you may write to."
        )


class BadFile(ContextMixError):
    """A file that is not what its name says."""


class OtherRun(ContextMixError):
    """A folder of results that a run cannot go on with."""


class BadRow(ContextMixError):
    """A row of a data set that cannot be explained, where that was to end the run."""


class Interrupted(ContextMixError):
    """A run that was told to stop, and can go on."""


# Inputs --------------------------------------------------------------------------------------------------------------


class BadInput(ContextMixError):
    """A text or a set of model inputs that cannot be explained."""


class TooLong(ContextMixError):
    """A text with more tokens than the model has positions."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(
            f"The text has {length} tokens and the model reads at most {limit}. Truncating it silently would explain "
            f"a different text. Shorten it, or use truncate=True (--truncate in a terminal) to explain its first "
            f"{limit} tokens."
        )


class SourcesDoNotFit(ContextMixError):
    """A context that is longer than what the model reads before its answer."""


# Models --------------------------------------------------------------------------------------------------------------


class ModelNotFound(ContextMixError):
    """A model name or folder that cannot be loaded."""


class UnsupportedModel(ContextMixError):
    """A model whose attention or block cannot be read exactly."""


class TapSilent(UnsupportedModel):
    """Attention that was computed without passing the tap."""


class TraceDoesNotAddUp(ContextMixError):
    """The recorded parts do not rebuild what the model computed."""


class NotFinite(ContextMixError):
    """NaN or infinity in weights or activations."""


class ServerRefused(ContextMixError):
    """A server that cannot be asked, or that answers with something else than log-probabilities."""


# Results -------------------------------------------------------------------------------------------------------------


class WrongQuantity(ContextMixError):
    """An aggregation or metric given numbers that it cannot combine."""


class WrongShape(ContextMixError):
    """An array whose axes do not fit its labels."""


class UnknownPosition(ContextMixError):
    """A layer, head or target that a result does not hold."""

    def __init__(self, axis: str, asked: object, known: Sequence[object]) -> None:
        listed = ", ".join(map(str, known[:40])) + (" …" if len(known) > 40 else "")
        super().__init__(
            f"There is no {axis} {asked!r} in this result. It contains {axis} {listed}, counted from 0; negative "
            f"numbers count from the end."
        )
