"""Tensors in words: what holds them is printed by their shapes, on one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

LONGEST = 60
"""Most characters of one text within a line."""


class Bound(partial[T]):
    """A function with some of its arguments, which are too large to be printed.

    Example:
        >>> Bound(max, "a long story")
        <Bound max>
    """

    def __repr__(self) -> str:
        return f"<Bound {getattr(self.func, '__name__', type(self.func).__name__)}>"


def by_shapes(self: Any) -> str:
    """The ``__repr__`` of a data class of tensors: its fields but those that are None.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Two:
        ...     weight: object
        ...     kind: str
        ...     bias: object = None
        ...     __repr__ = by_shapes
        >>> import torch
        >>> Two(torch.ones(2, 3), "rms")
        <Two: weight (2, 3), kind 'rms'>
    """
    given = {one.name: getattr(self, one.name) for one in fields(self) if one.repr}
    told = ", ".join(f"{name} {in_words(value)}" for name, value in given.items() if value is not None)
    return f"<{type(self).__name__}: {told}>"


def in_words(value: Any) -> str:
    """A value within a line: a tensor by its shape, what holds more by its kind or its number."""
    if hasattr(value, "shape"):
        return str(tuple(value.shape))
    if isinstance(value, float):
        return f"{value:g}"
    if is_dataclass(value) or callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, list | tuple | Mapping) and len(value) > 3:
        return f"of {len(value)}"
    return cut(repr(value))


def cut(text: str, longest: int = LONGEST) -> str:
    """A text with so many characters at most.

    Example:
        >>> cut("a long story", 7)
        'a long…'
    """
    return text if len(text) <= longest else text[: longest - 1] + "…"
