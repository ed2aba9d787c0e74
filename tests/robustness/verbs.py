"""Every public verb, found by looking: what `contextmix` and `contextmix.plots` offer, with all methods of classes.

Nobody lists them, so a new one is tried from its first day; where no good value of one of its arguments is known, a
test says so.
"""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from tests.robustness.arguments import GOOD, OF_VERB
from tests.robustness.samples import ROWS, In, samples
from tests.robustness.values import anything, rows, sources

import contextmix as cm
from contextmix.evidence.report import Report
from contextmix.results.losses import Losses
from contextmix.results.source_scores import SourceScores

BESIDE = {"Losses": Losses, "Report": Report, "SourceScores": SourceScores}
"""What public verbs give that has no public name."""
SHOWN = {"__repr__", "__str__", "__len__", "__getitem__", "__eq__", "_repr_html_", "_repr_mimebundle_"}
"""What Python and notebooks call."""
SOURCES = {"source", "prompt", "over", "question"}
HARMLESS = {"workers": (1, 0, -1, True, 0.5, "a", None), "engine": ("local", "x", 3, None)}
"""Arguments whose broken values start processes by the thousand, or a cluster: only these are given."""
FEW = {"methods": ["globenc", "attention"], "metrics": ["aopc"], "sanity": 1, "progress": False, "workers": 1}
LEARNING = {"text_field": "text", "masks": 16, "max_new_tokens": 8, "passes": [], "progress": False}
ALWAYS = {
    "run": {"progress": False},
    "evaluate": FEW,
    "reproduce": {"only": ["rows"], "data": ROWS, "progress": False, "limit": 2},
    "Run.row": {"method": "globenc"},
    "Run.map": {"method": "globenc"},
    "scores": {"tokens": ["a", "b"]},
    "fit": {"model": "demo-decoder", **LEARNING},
    "Trace.provenance": {"made": {"method": "norm"}},
}
"""Arguments that are given unless others are drawn: what is needed, and what keeps all methods from all rows."""

OPTIONS = ["normalise", "distance", "steps", "heads", "head", "bias", "seed", "percent", "span", "nonsense", "model",
           "options", "dims", "values", "layers"]  # fmt: skip
"""Of methods, aggregations and figures, and arguments of others."""

BINDING = {"inspect.py", "functools.py", "dataclasses.py", "pathlib.py"}
"""Of Python's own library: what says that an argument is missing, unknown, or no path."""


@dataclass(frozen=True)
class Verb:
    """A function, a constructor, a method or a property.

    Attributes:
        name: Such as ``"load"``, ``"TokenMap"``, ``"TokenMap.row"``.
        owner: The class that it is asked of; None for functions and constructors.
        function: What is called; None for a property.
        parameters: Its own, without the thing that it is asked of.
    """

    name: str
    owner: type | None
    function: Any
    parameters: Mapping[str, inspect.Parameter]

    def good(self, parameter: str) -> list[Any]:
        """Values of an argument that it takes."""
        own = self.name.split(".")[-1] if self.owner is None else ""
        names = [f"{self.name}.{parameter}", f"{own}.{parameter}"]
        if self.owner is not None:
            short = self.name.split(".")[-1]
            names += [f"{one.__name__}.{short}.{parameter}" for one in self.owner.__mro__]
        found = next((OF_VERB[name] for name in names if name in OF_VERB), None)
        if found is None and self.owner is not None and parameter == "other":
            return [*samples(self.owner), None]
        if found is None and inspect.isclass(self.function):
            there = [getattr(one, parameter) for one in samples(self.function) if hasattr(one, parameter)]
            if there:
                return there
        found = found or GOOD.get(parameter)
        return [] if found is None else list(found())

    def call(self, owner: Any, arguments: Mapping[str, Any]) -> Any:
        """Ask it."""
        if self.function is None:
            return getattr(owner, self.name.split(".")[-1])
        given = dict(arguments)
        more = next((name for name, one in self.parameters.items() if one.kind is one.VAR_KEYWORD), None)
        options = given.pop(more, {}) if more else {}
        plain = [given.pop(name) for name, one in self.parameters.items() if one.kind is one.POSITIONAL_ONLY]
        several = next((name for name, one in self.parameters.items() if one.kind is one.VAR_POSITIONAL), None)
        plain += given.pop(several, []) if several else []
        bound = self.function if self.owner is None else getattr(owner, self.name.split(".")[-1])
        return bound(*plain, **given, **options)


def verbs() -> dict[str, Verb]:
    """All of them by name."""
    found = [one for name in sorted(cm.__all__) for one in _of(name, getattr(cm, name))]
    found += [one for name, thing in BESIDE.items() for one in _of(name, thing)]
    found += [one for name in cm.plots.__all__ for one in _of(f"plots.{name}", getattr(cm.plots, name))]
    return {one.name: one for one in found}


def _of(name: str, thing: Any) -> Iterator[Verb]:
    yield Verb(name, None, thing, _parameters(thing))
    if not inspect.isclass(thing):
        return
    for attribute in dir(thing):
        home = next((one for one in thing.__mro__ if attribute in vars(one)), None)
        ours = home is not None and home.__module__.startswith("contextmix.")
        if not ours or (attribute.startswith("_") and attribute not in SHOWN):
            continue
        stored = vars(home)[attribute]
        plain = callable(stored) or isinstance(stored, classmethod | staticmethod)
        if plain and not isinstance(stored, thing):
            yield Verb(f"{name}.{attribute}", thing, stored, _parameters(getattr(thing, attribute), stored))
        elif hasattr(stored, "__get__"):
            yield Verb(f"{name}.{attribute}", thing, None, {})


def _parameters(function: Any, stored: Any = None) -> dict[str, inspect.Parameter]:
    try:
        found = dict(inspect.signature(function).parameters)
    except ValueError:  # of a class written in C
        return {}
    if inspect.isclass(function) and issubclass(function, Enum):
        return {"value": found["value"]}
    if inspect.isfunction(stored) or type(stored).__name__ == "wrapper_descriptor":
        found.pop(next(iter(found)))
    return found


# Drawing -------------------------------------------------------------------------------------------------------------


def owners(verb: Verb) -> st.SearchStrategy[Any]:
    """Something that it is asked of."""
    return st.none() if verb.owner is None else st.deferred(lambda: st.sampled_from(list(samples(verb.owner))))


def good_call(verb: Verb) -> dict[str, Any]:
    """The required arguments, each at its first good value."""
    return {name: verb.good(name)[0] for name in required(verb)}


def required(verb: Verb) -> list[str]:
    """Arguments that must be given."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [name for name, one in verb.parameters.items() if one.default is one.empty and one.kind not in kinds]


@st.composite
def calls(draw: st.DrawFn, verb: Verb) -> dict[str, Any]:
    """Arguments: the required ones and some others, of which one or two are broken."""
    must = required(verb)
    others = [name for name in verb.parameters if name not in must]
    chosen = must + (draw(st.lists(st.sampled_from(others), max_size=3, unique=True)) if others else [])
    broken = draw(st.lists(st.sampled_from(chosen), min_size=1, max_size=2, unique=True)) if chosen else []
    drawn = {name: draw(_broken(verb, name) if name in broken else _good(verb, name)) for name in chosen}
    return {**ALWAYS.get(verb.name, {}), **drawn}


def _good(verb: Verb, name: str) -> st.SearchStrategy[Any]:
    parameter = verb.parameters[name]
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return st.just({} if parameter.kind is parameter.VAR_KEYWORD else [])
    if name in HARMLESS:
        return st.just(HARMLESS[name][0])
    known = verb.good(name)
    if known:
        return st.sampled_from(known)
    return st.just(parameter.default) if parameter.default is not parameter.empty else anything()


def _broken(verb: Verb, name: str) -> st.SearchStrategy[Any]:
    parameter = verb.parameters[name]
    if name in HARMLESS:
        return st.sampled_from(HARMLESS[name])
    if parameter.kind is parameter.VAR_KEYWORD:
        return st.dictionaries(st.sampled_from(OPTIONS), anything(), max_size=2)
    if parameter.kind is parameter.VAR_POSITIONAL:
        return st.lists(anything(), max_size=2)
    if name == "data":
        return rows()
    if name in SOURCES:
        return sources()
    known = [one for one in verb.good(name) if not isinstance(one, In)]
    damaged = [_without(one) for one in known if isinstance(one, dict) and one]
    return st.one_of(anything(), *damaged, *([st.sampled_from(known)] if known else []))


@st.composite
def _without(draw: st.DrawFn, whole: dict[Any, Any]) -> dict[Any, Any]:
    """A mapping of which one entry is gone or another, also further inside."""
    found = dict(whole)
    name = draw(st.sampled_from(sorted(found, key=str)))
    what = draw(st.sampled_from(["gone", "other", "inside"]))
    if what == "gone":
        del found[name]
    elif what == "inside" and isinstance(found[name], dict) and found[name]:
        found[name] = draw(_without(found[name]))
    else:
        found[name] = draw(anything())
    return found


# Asking --------------------------------------------------------------------------------------------------------------


def asked(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """What a call gives, or None where it is refused in our own words; any other exception goes on its way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other libraries say of strange numbers
        try:
            found = call(*arguments, **more)
            if isinstance(found, AbstractContextManager):
                with found:
                    pass
            repr(found)
        except cm.ContextMixError as refusal:
            if not str(refusal).strip():
                pytest.fail("a refusal says nothing")
            return None
        except TypeError as wrong:
            if not is_ours(wrong):
                raise
            return None
        return found


def is_ours(wrong: TypeError) -> bool:
    """Whether a `TypeError` is said of the call: by Python, which binds arguments, or by a line of contextmix.

    One that comes out of the depths of another library says nothing of the call, and is foreign like a `ValueError`.
    """
    last = traceback.extract_tb(wrong.__traceback__)[-1]
    place = Path(last.filename)
    return "contextmix" in place.parts or "robustness" in place.parts or place.name in BINDING


def placed(value: Any, folder: Path) -> Any:
    """A value with paths in a folder in the place of `In`."""
    return folder / value.name if isinstance(value, In) else value
