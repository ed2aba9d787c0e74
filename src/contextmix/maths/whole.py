"""Whole numbers, and numbers as Python has them, of any library."""

from __future__ import annotations

import operator
from typing import Any


def whole_number(value: Any) -> int | None:
    """The whole number that a value is: Python's, numpy's, or a torch tensor of one.

    Args:
        value: Anything.

    Returns:
        None if it is none: a text, a fraction, True or False, several numbers.

    Example:
        >>> import numpy as np
        >>> whole_number(np.int64(3)), whole_number(3.0), whole_number(True)
        (3, None, None)
    """
    if isinstance(value, bool | str) or "bool" in str(getattr(value, "dtype", "")):
        return None
    if getattr(value, "ndim", 0) != 0:
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def index_of(what: str, value: Any) -> int:
    """The whole number that a call needs.

    Args:
        what: Whose argument it is and which one, for the sentence.
        value: What was given.

    Raises:
        TypeError: If it is none.

    Example:
        >>> index_of("row: query", 0.5)
        Traceback (most recent call last):
        TypeError: row: query must be a whole number; got float.
    """
    found = whole_number(value)
    if found is None:
        raise TypeError(f"{what} must be a whole number; got {type(value).__name__}.")
    return found


def plain(value: Any) -> Any:
    """What an array or a tensor holds, as numbers and lists of Python; anything else as it is.

    A tensor that holds nothing which could be read (on the device "meta") stays as it is too.

    Example:
        >>> import numpy as np
        >>> plain(np.array([1, 2])), plain(np.float32(0.5)), plain("all")
        ([1, 2], 0.5, 'all')
    """
    if isinstance(value, type) or not hasattr(value, "tolist"):
        return value
    try:
        return value.tolist()
    except RuntimeError:
        return value
