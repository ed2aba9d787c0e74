"""Docstrings in Google's style, taken apart and written as Markdown."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

SECTIONS = ("Args", "Returns", "Raises", "Source", "Example", "Attributes")


def sections(documented: Any) -> dict[str, str]:
    """The text before the first section under ``""``, and each section under its name."""
    found, current = {"": ""}, ""
    for line in (inspect.getdoc(documented) or "").splitlines():
        if line.removesuffix(":") in SECTIONS and line.endswith(":"):
            current = line.removesuffix(":")
            found[current] = ""
        else:
            found[current] += line + "\n"
    return {name: inspect.cleandoc(text) for name, text in found.items()}


def entries(section: str) -> dict[str, str]:
    """Name → text of a section such as Args."""
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if start := re.match(r"(\*{0,2}\w+)(?: \(.*?\))?: (.*)", line):
            name = start[1]
            found[name] = start[2]
        elif name:
            found[name] += " " + line.strip()
    return found


def markdown(text: str) -> str:
    """Prose with code between backticks, in which nothing else is a sign of Markdown."""
    parts = re.split(r"(``.+?``|`.+?`|(?<!\S)\*\w[^*\n]*\w\*(?!\w))", text, flags=re.DOTALL)
    return "".join(_marked(part) if place % 2 else _escaped(part) for place, part in enumerate(parts))


def _marked(part: str) -> str:
    return code(part.strip("`")) if part.startswith("`") else f"*{_escaped(part.strip('*'))}*"


def _escaped(part: str) -> str:
    return re.sub(r"([\\*_<>\[\]#$|])", r"\\\1", part)


def code(text: str) -> str:
    """A text in the font of code, also within a table."""
    return f"`{' '.join(text.split())}`".replace("|", "\\|")


def options(function: Callable[..., Any], named: Mapping[str, inspect.Parameter]) -> str:
    """A list of options with their defaults and what the docstring says of them."""
    told = entries(sections(function).get("Args", ""))
    lines = []
    for name, parameter in named.items():
        default = parameter.default
        shown = "" if default is inspect.Parameter.empty else f" (default {code(repr(default))})"
        lines.append(f"- {code(name)}{shown}: {markdown(told.get(name, ''))}")
    return "\n".join(lines)
