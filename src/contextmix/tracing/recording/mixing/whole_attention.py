"""Functions of torch that are a whole attention, with its projections: what they multiply inside is heard too.

A function mode is told of such a function once, from outside, and not of the products in it. Its own code runs again
with one name changed, the one by which torch asks whether a mode wants to be told; so it runs on, and the mode is told
of each product.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from torch import nn


def _opened(function: Any) -> Callable[..., Any]:
    """A function written in Python that no longer hands itself over to a mode."""
    names = {**function.__globals__, "has_torch_function": _never}
    opened = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened


def _never(_: object) -> bool:
    return False


_WHOLE = (nn.functional.multi_head_attention_forward,)
INSIDES: dict[Any, Callable[..., Any]] = {function: _opened(function) for function in _WHOLE}
"""Each such function, and what to call in its place inside a mode."""
