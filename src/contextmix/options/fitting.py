"""Whether a value is of the type that an option has, and the value as that type: numpy's 3 is 3, an array a list."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from contextmix.errors import BadOption
from contextmix.maths.whole import plain, whole_number


class _Unfit(Exception):
    """The value is of another type."""


def fitted(name: str, value: Any, kind: Any, help_text: str) -> Any:
    """The value as the type that an option has.

    Args:
        name: Of the option.
        value: What was given.
        kind: The declared type.
        help_text: What the option is, for the error.

    Raises:
        BadOption: If it is of another type.

    Example:
        >>> import numpy as np
        >>> fitted("query", np.int64(3), int | str | None, "The token to explain.")
        3
        >>> fitted("query", 0.5, int | str | None, "A token.")
        Traceback (most recent call last):
        contextmix.errors.BadOption: query must be a whole number or a text; got 0.5 (float). A token.
    """
    try:
        return _fit(value, kind)
    except _Unfit:
        shown = f"{value!r:.80}" if isinstance(value, str | int | float | complex | NoneType) else "…"
        raise BadOption(f"{name} must be {_words(kind)}; got {shown} ({type(value).__name__}). {help_text}") from None


def _fit(value: Any, kind: Any) -> Any:
    if kind is Any:
        return value
    origin = get_origin(kind) or kind
    if origin in (Union, UnionType):
        return _first(value, get_args(kind))
    known = _FITS.get(origin)
    return known(value, get_args(kind)) if known is not None else value


def _first(value: Any, kinds: Sequence[Any]) -> Any:
    for kind in kinds:
        try:
            return _fit(value, kind)
        except _Unfit:
            continue
    raise _Unfit


def _number(value: Any, _: Any) -> int:
    found = whole_number(value)
    if found is None:
        raise _Unfit
    return found


def _real(value: Any, _: Any) -> float:
    found = plain(value)
    if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
        return found
    raise _Unfit


def _truth(value: Any, _: Any) -> bool:
    found = plain(value) if getattr(value, "shape", None) == () else value
    if isinstance(found, bool):
        return found
    raise _Unfit


def _text(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return str(value)
    raise _Unfit


def _nothing(value: Any, _: Any) -> None:
    if value is not None:
        raise _Unfit


def _list(value: Any, kinds: Sequence[Any]) -> list[Any]:
    found = plain(value)
    if not isinstance(found, list | tuple | range):
        raise _Unfit
    return [(_fit if kinds[0] is float else _loosely)(each, kinds[0]) for each in found]


def _loosely(value: Any, kind: Any) -> Any:
    """An entry of a list; whoever reads the list knows what to say of one that is wrong."""
    try:
        return _fit(value, kind)
    except _Unfit:
        return value


def _tuple(value: Any, kinds: Sequence[Any]) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or len(value) != len(kinds):
        raise _Unfit
    return tuple(_fit(each, kind) for each, kind in zip(value, kinds, strict=True))


def _mapping(value: Any, kinds: Sequence[Any]) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _Unfit
    return {_fit(name, kinds[0]): _fit(each, kinds[1]) for name, each in value.items()}


def _callable(value: Any, _: Any) -> Any:
    if not callable(value):
        raise _Unfit
    return value


_FITS: dict[Any, Callable[[Any, Sequence[Any]], Any]] = {
    int: _number,
    float: _real,
    bool: _truth,
    str: _text,
    Literal: _text,  # which words are known is said by whoever knows what they mean
    NoneType: _nothing,
    Sequence: _list,
    Mapping: _mapping,
    tuple: _tuple,
    Callable: _callable,
}
_WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a text",
    Literal: "a word",
    NoneType: "",
    Sequence: "a list",
    Mapping: "a mapping",
    tuple: "a pair",
    Callable: "a function",
}


def _words(kind: Any) -> str:
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    words = dict.fromkeys(filter(None, map(_word, kinds)))
    return " or ".join(words)


def _word(kind: Any) -> str:
    return "a list of numbers" if get_args(kind) == (float,) else _WORDS.get(get_origin(kind) or kind, "something else")
