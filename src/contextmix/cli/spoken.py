"""Refusals in the words of the command line: flags where the sentence names arguments of Python."""

from __future__ import annotations

import re
from collections.abc import Mapping

_BOTH = re.compile(r"(?:\w+ and )?\w+(?:=[^\s,()]+)? \((--[^()]*?)(?: in a terminal)?\)")
_PAIR = re.compile(r"\btarget=\(([^,()]+), ([^,()]+)\)")
_GIVEN = re.compile(r"(?<![\w.'\"\-{])([a-z]\w*)=('[^'\n]*'|\"[^\"\n]*\"|…|-?[\w.]*\w)")
_NAMED = re.compile(r"(?<![\w.'\"\-])([a-z]+(?:_[a-z]+)+)\b(?!['\"(=:]|\.\w)")


def spoken(sentence: str, flags: Mapping[str, str]) -> str:
    """A refusal with the flags of the command line in place of arguments of Python.

    A name that is no flag of the verb is an option of a method, and is written as one: ``replace=mask``.

    Args:
        sentence: What the library says.
        flags: Argument of Python → flag, of the verb that was asked for.

    Example:
        >>> flags = {"overwrite": "--force", "text_field": "--text-field", "target": "--target"}
        >>> spoken("a.json already exists. Use overwrite=True (--force in a terminal).", flags)
        'a.json already exists. Use --force.'
        >>> spoken("Name it with text_field, or leave target='gold' out. Use replace='mask'.", flags)
        'Name it with --text-field, or leave --target gold out. Use replace=mask.'
    """
    told = _BOTH.sub(lambda found: found[1], sentence)
    if "against" in flags:
        told = _PAIR.sub(lambda found: f"--target {_bare(found[1])} --against {_bare(found[2])}", told)
    told = _GIVEN.sub(lambda found: _flagged(found[1], found[2], flags), told)
    return _NAMED.sub(lambda found: flags.get(found[1], found[1]), told)


def _flagged(name: str, value: str, flags: Mapping[str, str]) -> str:
    flag = flags.get(name)
    if value in ("True", "False"):
        without = f"--no-{flag.removeprefix('--')}" if flag else ""
        return (flag if value == "True" else without) or f"{name}={value.lower()}"
    return f"{flag} {_bare(value)}" if flag else f"{name}={_bare(value)}"


def _bare(value: str) -> str:
    """A value without quotes, unless the shell needs them."""
    inner = value.strip("'\"")
    return inner if re.fullmatch(r"[\w.…:+/@-]+", inner) else value
