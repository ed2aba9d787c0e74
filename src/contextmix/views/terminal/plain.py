"""Signs that a console lacks (a pipe on Windows, an old terminal) as plainer ones: a minus stays a minus."""

from __future__ import annotations

import codecs
import io

from rich.console import Console

from contextmix.errors import refuse_kind

NAME = "contextmix.plain"
"""Of the way to encode, for ``reconfigure(errors=NAME)``."""
_PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "…": "...",
    "·": "*",
    "×": "x",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "±": "+-",
    "½": "1/2",
    "²": "^2",
    "█": "#",
}


def readable(console: Console | None) -> Console:
    """A console that prints whatever it is given.

    Args:
        console: Left out, the standard output.
    """
    refuse_kind("show: console", console, Console, type(None))
    console = Console() if console is None else console
    if isinstance(console.file, io.TextIOWrapper):
        console.file.reconfigure(errors=NAME)
    return console


def plain(failure: UnicodeError) -> tuple[str | bytes, int]:
    r"""What stands for the signs that an encoding lacks.

    Half characters, of names that are not UTF-8, become escapes; signs without a plain form ``?``.

    Example:
        >>> "−0.5 · caf\udce9 電".encode("ascii", NAME)
        b'-0.5 * caf\\udce9 ?'
    """
    if not isinstance(failure, UnicodeEncodeError):
        raise failure
    found = "".join(map(_sign, failure.object[failure.start : failure.end]))
    return found, failure.end


def _sign(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return f"\\u{ord(character):04x}"
    return _PLAIN.get(character, "?")


codecs.register_error(NAME, plain)
