"""What a plug-in file says of itself, read without running it.

A plug-in needs torch to compute and nothing to be named: a table of methods, or the refusal of a misspelled one, would
otherwise wait for seconds. The constant of a file is built as it stands there, of the names of `contracts` and
`papers`. In the place of each function is a stand-in that knows its options and refuses to be called.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

from contextmix.plugins import contracts, papers


def constant_of(module: str, name: str) -> Any:
    """A constant of a plug-in file.

    Args:
        module: Such as ``"contextmix.methods.norm"``.
        name: Such as ``"METHOD"``.

    Returns:
        The constant; None where only running the file can tell: its source is not there, or the constant is made of
        other things than `contracts` promises.

    Example:
        >>> result = constant_of("contextmix.methods.value_zeroing", "METHOD")
        >>> result.paper.short, sorted(contracts.options_of(result.measure))
        ('Mohebbi et al. 2023', ['distance', 'heads', 'normalise', 'precision'])
    """
    value = _assigned(module, name)
    if not isinstance(value, ast.Call):
        return None
    functions = {one.name: _stand_in(one, module) for one in _body(module) if isinstance(one, ast.FunctionDef)}
    known = {**vars(builtins), **vars(contracts), **vars(papers), **functions}
    if {one.id for one in ast.walk(value) if isinstance(one, ast.Name)} - known.keys():
        return None
    return eval(compile(ast.Expression(value), module, "eval"), known)  # a file of ours, which is run anyway


def texts_of(module: str, name: str) -> Mapping[str, str]:
    """The texts among the named arguments of a constant, whatever else it is made of; none without a source.

    Example:
        >>> texts_of("contextmix.experiments.globenc_table1", "EXPERIMENT")["study"]
        'globenc'
    """
    value = _assigned(module, name)
    given = value.keywords if isinstance(value, ast.Call) else []
    constants = {one.arg: one.value.value for one in given if one.arg and isinstance(one.value, ast.Constant)}
    return {argument: text for argument, text in constants.items() if isinstance(text, str)}


@cache
def _body(module: str) -> list[ast.stmt]:
    """The statements of a file; none where its source is not there."""
    spec = find_spec(module)
    read = getattr(spec.loader, "get_source", None) if spec is not None else None
    source = None if read is None else read(module)
    return ast.parse(source).body if source else []


def _assigned(module: str, name: str) -> ast.expr | None:
    """What a name of a file stands for; None where the file does not say it."""
    for one in _body(module):
        targets = one.targets if isinstance(one, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return one.value  # type: ignore[attr-defined, no-any-return]
    return None


def _stand_in(function: ast.FunctionDef, module: str) -> Callable[..., Any]:
    """A function with the options of another one, and the values that these name."""

    def stand_in(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"{module}.{function.name} was read and not run.")

    options = function.args.kwonlyargs
    kinds = {one.arg: Any if one.annotation is None else _kind(one.annotation, module) for one in options}
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([inspect.Parameter(name, keyword, annotation=kind) for name, kind in kinds.items()])
    stand_in.__signature__ = signature  # type: ignore[attr-defined]
    stand_in.__name__, stand_in.__annotations__ = function.name, kinds
    return stand_in


def _kind(annotation: ast.expr, module: str) -> Any:
    """`bool`, or the `Literal` that an annotation writes out or names; anything for the rest, which names no values."""
    if isinstance(annotation, ast.Name):
        if annotation.id == "bool":
            return bool
        home, name = _origin(module, annotation.id)
        value = _assigned(home, name)
        return Any if value is None else _kind(value, home)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        return Literal[ast.literal_eval(annotation.slice)]
    return Any


def _origin(module: str, name: str) -> tuple[str, str]:
    """The file that a name comes from, and its name there."""
    for one in _body(module):
        for alias in one.names if isinstance(one, ast.ImportFrom) and not one.level else []:
            if (alias.asname or alias.name) == name and str(one.module).startswith("contextmix."):  # type: ignore[attr-defined]
                return str(one.module), alias.name  # type: ignore[attr-defined]
    return module, name
