"""Verbs of results whose work stands in a room above: how ``result.show()`` reaches its view.

What people hold must not know how it is drawn, or every view would be loaded with every number. So a verb declares its
arguments and its meaning here below, and the package's root (``contextmix/__init__.py``) names the function above that
does the work. That table is the only place where the two meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_HOMES: dict[str, str] = {}


def attach(homes: Mapping[str, str]) -> None:
    """Say which function does the work of a verb.

    Args:
        homes: ``Class.verb`` → ``module:function``. The module is loaded when the verb is first used.

    Example:
        >>> attach({"Shelf.count": "builtins:len"})
    """
    _HOMES.update(homes)


def attached(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb that is declared here and done elsewhere: its signature and docstring stay, its body is never run.

    Example:
        >>> class Shelf(list):
        ...     @attached
        ...     def count(self) -> int:
        ...         "How many there are."
        >>> attach({"Shelf.count": "builtins:len"})
        >>> Shelf("abc").count()
        3
    """
    name = verb.__qualname__.rpartition("<locals>.")[2]

    @wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return _function(name)(*args, **kwargs)  # type: ignore[no-any-return]

    return call


def _function(name: str) -> Callable[..., Any]:
    module, _, function = _HOMES[name].partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
