"""One page with every exception, and the sentences that the code says when it raises it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from scripts.docs.docstrings import markdown, sections

import contextmix.errors as errors

PACKAGE = Path(errors.__file__).parent
HEAD = """# Errors

Nothing in contextmix warns: where a number would be wrong, it raises. All exceptions derive from `ContextMixError`, so
one `except contextmix.ContextMixError` catches them. A sentence says what was asked, what was found, why it matters and
what to do; `…` stands for names and numbers of your case. This page is written from the code.
"""


def errors_page() -> str:
    """Every exception with what it means, its parents, and its sentences."""
    said = sentences()
    parts = [HEAD]
    for name, kind in vars(errors).items():
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or kind is errors.ContextMixError:
            continue
        parts.append(f"## `{name}`\n\n{markdown(sections(kind)[''])}")
        if kind.__base__ is not errors.ContextMixError:
            parts[-1] += f" A kind of `{kind.__base__.__name__}`."  # type: ignore[union-attr]
        found = sorted(set(said[name]))
        if found:
            parts.append("\n".join(f"- {markdown(one)}" for one in found))
    return "\n\n".join(parts) + "\n"


def sentences() -> dict[str, list[str]]:
    """Name of an exception → the sentences that are raised with it anywhere in the package."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and _is_super(call)]
                found[node.name] += [text for call in calls for text in _told(call)]
            elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                found[ast.unparse(node.exc.func).rpartition(".")[2]] += list(_told(node.exc))
    return found


def _is_super(call: ast.Call) -> bool:
    return ast.unparse(call.func) == "super().__init__"


def _told(call: ast.Call) -> Iterator[str]:
    for argument in call.args[:1]:
        text = _text(argument)
        # A name that the exception itself makes a sentence of is none.
        if len(text.split()) >= 5 and not text[:1].islower():
            yield re.sub("…[…. ]*…", "…", " ".join(text.split()))


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body):
            return _text(body)
        case _:
            return "…"
