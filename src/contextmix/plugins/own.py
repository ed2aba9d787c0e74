"""Methods that are functions of the user, from a text to one score per token, beside the plug-ins in a comparison.

A run is asked for by names and options, which a manifest can hold; a function cannot stand in one. So it takes part
under its name, with a digest of its code among its options: another function, or the same one after a change, is
another run. The functions themselves stay in this process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contextmix.errors import BadInput, BadOption, ContextMixError, NotFinite, WrongShape
from contextmix.options.values import Scorer
from contextmix.plugins.contracts import ModelMethod
from contextmix.plugins.papers import Paper
from contextmix.plugins.plan import Plan, make_plan
from contextmix.plugins.registry import METHODS
from contextmix.plugins.selection import spelled
from contextmix.results.foreign import numbers
from contextmix.results.provenance import Quantity
from contextmix.results.scores import scores
from contextmix.results.token_map import TokenMap
from contextmix.tokens.located import given_to
from contextmix.tokens.pieces import Tokens
from contextmix.traces.model_run import ModelRun

CODE = "code"
"""The option that a method of one's own has, and no plug-in."""

_FUNCTIONS: dict[tuple[str, str], Scorer] = {}


def named(methods: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Methods by their names, where some of them may be functions.

    Args:
        methods: A name, or several names and functions.

    Returns:
        The names, and for each function its options.

    Raises:
        BadOption: If a function has no name, that of a method of ours, or that of another one.

    Example:
        >>> def first_word(text): ...
        >>> names, options = named(["globenc", first_word])
        >>> names, list(options["first_word"])
        (['globenc', 'first_word'], ['function', 'code'])
    """
    if callable(methods) and not isinstance(methods, str):
        methods = [methods]
    if isinstance(methods, str) or not any(callable(one) for one in methods):
        return methods, {}
    own: dict[str, dict[str, Any]] = {}
    for one in methods:
        if callable(one):
            name = _name(one)
            if name in own or name in spelled([each for each in methods if not callable(each)]):
                raise BadOption(f"Two methods are called {name}, and a table has one row for each name. Rename one.")
            own[name] = {"function": f"{one.__module__}.{one.__qualname__}", CODE: _digest(one)}
            _FUNCTIONS[name, own[name][CODE]] = one
    return [_name(one) if callable(one) else one for one in methods], own


def is_own(options: Mapping[str, Any] | None) -> bool:
    """Whether options are those of a function."""
    return CODE in (options or {})


def plan_of(name: str, options: Mapping[str, Any] | None) -> Plan:
    """The plan of a method by its name and options: a plug-in, or a function of this process or an earlier one."""
    if options is None or not is_own(options) or name in METHODS.names:
        return make_plan(name, None, options)
    key = (name, str(options[CODE]))

    def attribute(run: ModelRun, *, function: str = "", code: str = "") -> Tensor:
        return _asked(key, run.tokens)

    paper = Paper("own", 0, str(options.get("function", name)), "a function of the user", "")
    about: dict[str, Any] = {"formula": "a function of the text", "cost": "its own", "needs": "a text", "paper": paper}
    own = ModelMethod(name=name, attribute=attribute, quantity=Quantity.SIGNED, **about)
    return Plan(name, own, dict(options), None, {})


def _asked(key: tuple[str, str], tokens: Tokens) -> Tensor:
    name, text = key[0], tokens.text
    if key not in _FUNCTIONS:
        raise BadOption(f"{name} is a function of another process, and is not here. Give it to this call again.")
    if text is None:
        raise BadInput(f"{name} takes a single text, but this input is a pair of texts or has no text. Leave it out.")
    try:
        given = _FUNCTIONS[key](text)
    except ContextMixError:
        raise
    except Exception as reason:
        raise BadInput(f"{name} failed on this text: {type(reason).__name__}: {reason!s:.200}") from reason
    return torch.from_numpy(fitted(name, given, tokens))


def fitted(name: str, given: Any, tokens: Tokens) -> Any:
    """What a function gave, as one number per token of the model.

    Args:
        name: Of the function.
        given: One number per token; per token that is not special, which then get 0; a `TokenMap`, also of other tokens
            of the same text; or what `contextmix.scores` takes without tokens.
        tokens: Of the model.

    Raises:
        WrongShape: If the numbers do not fit the tokens.
        NotFinite: If one is NaN or infinite.
        BadInput: If nothing says which of the model's tokens they belong to.
    """
    array = None if isinstance(given, TokenMap) or hasattr(given, "base_values") else _array(given)
    if array is None:
        found = given if isinstance(given, TokenMap) else scores(given, method=name, text=tokens.text)
        if found.dims != ("key",):
            raise WrongShape(f"{name} gave a map with the axes {found.dims}, and one score per token is needed.")
        values = found.values.astype(np.float64)
        same = found.tokens.pieces == tokens.pieces
        return values.copy() if same else given_to(values, found.tokens, tokens)
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    words = np.array([not one for one in tokens.special])
    if array.shape not in ((len(tokens),), (int(words.sum()),)):
        raise WrongShape(
            f"{name} gave scores of the shape {array.shape} for a text of {len(tokens)} tokens "
            f"({int(words.sum())} without special ones): {tokens.glimpse()}. Return one per token; scores of words "
            "or other pieces as contextmix.scores(values, pieces, text=text)."
        )
    if not np.isfinite(array).all():
        where = np.flatnonzero(~np.isfinite(array)).tolist()
        raise NotFinite(
            f"{name} gave NaN or infinite scores for the tokens {where} of this text. They cannot be ranked."
        )
    full = np.zeros(len(tokens))
    full[slice(None) if len(array) == len(tokens) else words] = array
    return full


def _array(given: Any) -> Any:
    """The numbers of a plain array or list; None for a result of another tool, which brings its tokens."""
    fields = ("seq_attr", "sequence_attributions", "source_attributions", "attributions")
    return None if any(hasattr(given, name) for name in fields) else numbers(given)


def _name(function: Any) -> str:
    name = getattr(function, "__name__", "")
    if not name.isidentifier() or not hasattr(function, "__qualname__"):
        raise BadOption(
            f"{function!r:.80} has no name to show in tables. Define it as def my_method(text): …; its name is used."
        )
    if name in METHODS:
        raise BadOption(f"Your function is called {name}, as a method of contextmix is. Rename it to compare both.")
    return str(name)


def _digest(function: Any) -> str:
    """Of the code and of what stands in it: another function is another method, whatever it is called."""
    seen = hashlib.sha256()
    code = getattr(function, "__code__", None)
    for part in _parts(code) if code is not None else (f"{function.__module__}.{function.__qualname__}",):
        seen.update(part.encode() + b"\0")
    return seen.hexdigest()[:16]


def _parts(code: CodeType) -> Sequence[str]:
    found = [code.co_code.hex(), *code.co_names]
    for one in code.co_consts:
        found += _parts(one) if isinstance(one, CodeType) else [repr(sorted(map(repr, one)) if _is_set(one) else one)]
    return found


def _is_set(one: Any) -> bool:
    """A set prints in another order in another process."""
    return isinstance(one, frozenset)
