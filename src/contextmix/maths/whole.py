"""Whole numbers of any library."""

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
