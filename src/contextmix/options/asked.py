"""What people give to name a score or blocks, in plain Python, whichever library their numbers are of."""

from __future__ import annotations

from typing import Any

from contextmix.errors import BadOption
from contextmix.maths.whole import plain, whole_number
from contextmix.options.values import Asked


def plain_target(asked: Any) -> Asked:
    """A target as names and Python's numbers: a label column gives numpy's, ``logits.argmax()`` torch's.

    Args:
        asked: A name, a whole number, two of these as a tuple, list or array, or None.

    Raises:
        BadOption: If it is something else. True and False are no numbers of classes, and neither are fractions.

    Example:
        >>> import numpy as np
        >>> plain_target(np.int64(1)), plain_target(["negative", np.int32(0)])
        (1, ('negative', 0))
    """
    if isinstance(asked, tuple | list) or getattr(asked, "ndim", 0) == 1:
        return tuple(_one(each, asked) for each in asked)  # type: ignore[return-value]
    return None if asked is None else _one(asked, asked)


def _one(each: Any, asked: Any) -> int | str:
    if isinstance(each, str):
        return str(each)
    number = whole_number(each)
    if number is None:
        raise BadOption(
            f"target={asked!r} does not name a score: {each!r} is neither a name nor a whole number. Give a class or "
            f"token by its name or number, or two of them to contrast."
        )
    return number


def plain_layers(asked: Any) -> Any:
    """Numbers of blocks as a list, also of an array; what is no array stays as it is.

    Example:
        >>> import numpy as np
        >>> plain_layers(np.array([0, 1])), plain_layers("all")
        ([0, 1], 'all')
    """
    return plain(asked)
