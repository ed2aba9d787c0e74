"""One option, and how functions take many of them: as keyword arguments that are declared in one place.

A function says ``**options: Unpack[RunOptions]``, so editors complete and check the names. `takes` puts the options
into its signature and docstring. `filled` checks what was given and adds the defaults.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, wraps
from typing import Annotated, Any, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

from typing_extensions import Unpack, is_typeddict

from contextmix.errors import BadOption, did_you_mean, near_misses
from contextmix.maths.whole import whole_number
from contextmix.options.fitting import fitted

F = TypeVar("F", bound=Callable[..., Any])
Check = Callable[[str, Any], None]
"""Called with the name of the option and its value; raises `BadOption`."""


class Spelling(NamedTuple):
    """How the command line writes a value.

    Attributes:
        type: What the command line reads: ``str``, ``int``, or ``list[str]`` for a flag that may be repeated.
        read: From that to the value; raises `BadOption`. Its second argument is the flag.
        told: What the help of the command line adds.
    """

    type: Any
    read: Callable[[Any, str], Any]
    told: str = ""


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        help: One or two sentences.
        python: What to add for a call in Python.
        default: Its value when it is left out.
        otherwise: What happens when it is left out, in words, where the default does not say it.
        spelling: How the command line writes it; None: as its type.
        flag: Its name on the command line, where that differs.
        bare: What its flag means on the command line without a value; empty where it needs one.
        check: What values are refused.
        lenient: Whether values of other types pass, because whoever reads them has more to say of them.
    """

    help: str
    python: str = ""
    default: Any = None
    otherwise: str = ""
    spelling: Spelling | None = None
    flag: str = ""
    bare: str = ""
    check: Check | None = None
    lenient: bool = False

    def but(self, **changes: Any) -> Option:
        """The same option with something changed, for another verb."""
        return replace(self, **changes)

    @property
    def left_out(self) -> str:
        """What happens when it is left out; empty where nothing does."""
        if self.otherwise or isinstance(self.default, bool) or self.default in (None, (), ""):
            return self.otherwise
        return str(self.default)


class Declared(NamedTuple):
    """An option of a function.

    Attributes:
        type: Of its value.
        option: What is said of it.
    """

    type: Any
    option: Option


def at_least(lowest: int, what: str) -> Check:
    """A whole number.

    Args:
        lowest: The smallest that makes sense.
        what: What it counts.

    Example:
        >>> at_least(1, "a number of rows")("limit", 0)
        Traceback (most recent call last):
        contextmix.errors.BadOption: limit=0 is a number of rows, at least 1.
    """

    def check(name: str, value: Any) -> None:
        if value is not None and (not isinstance(value, int) or value < lowest):
            raise BadOption(f"{name}={value!r} is {what}, at least {lowest}.")

    return check


def between(lowest: int, highest: int, what: str) -> Check:
    """A whole number that is neither too small nor too large; what is none is refused for its type.

    Args:
        lowest: The smallest that makes sense.
        highest: The largest.
        what: What it is.

    Example:
        >>> between(1, 9, "a number of rows")("limit", 10)
        Traceback (most recent call last):
        contextmix.errors.BadOption: limit=10 is a number of rows, from 1 to 9.
    """

    def check(name: str, value: Any) -> None:
        number = whole_number(value)
        if number is not None and not lowest <= number <= highest:
            raise BadOption(f"{name}={number} is {what}, from {lowest} to {highest}.")

    return check


def one_of(*known: str) -> Check:
    """One of a few words.

    Example:
        >>> one_of("mask", "delete")("removal", "drop")
        Traceback (most recent call last):
        contextmix.errors.BadOption: removal='drop' is not one of mask, delete.
    """

    def check(name: str, value: Any) -> None:
        if value is not None and value not in known:
            raise BadOption(f"{name}={value!r} is not one of {', '.join(known)}.")

    return check


@cache
def declared(owner: Any) -> Mapping[str, Declared]:
    """The options of a TypedDict of options, or of a function: its own parameters and those that it unpacks.

    Example:
        >>> from contextmix.options.sets import RunOptions
        >>> declared(RunOptions)["limit"].option.help
        'Read only the first N rows.'
    """
    found: dict[str, Declared] = {}
    for name, hint in get_type_hints(owner, include_extras=True).items():
        if get_origin(hint) is Unpack or is_typeddict(hint):
            found |= declared(get_args(hint)[0] if get_origin(hint) is Unpack else hint)
        elif get_origin(hint) is Annotated and (option := _option(hint)) is not None:
            found[name] = Declared(get_args(hint)[0], option)
    return found


def filled(kind: Any, given: Mapping[str, Any], function: str) -> dict[str, Any]:
    """All options of a kind: those that were given, checked, and the defaults of the others.

    Args:
        kind: A TypedDict of options.
        given: Keyword arguments.
        function: Who was called, for the error.

    Raises:
        TypeError: If there is no such option.
        BadOption: If a value is refused.

    Example:
        >>> from contextmix.options.sets import RunOptions
        >>> filled(RunOptions, {"workers": 2}, "run")["workers"]
        2
        >>> filled(RunOptions, {"wrokers": 2}, "run")
        Traceback (most recent call last):
        TypeError: run() got an unexpected keyword argument 'wrokers'. Did you mean 'workers'?
    """
    known = declared(kind)
    for name in given:
        if name not in known:
            hint = did_you_mean(near_misses(name, known, 1))
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{'.' * bool(hint)}{hint}")
    own = {name: accepted(name, value, known[name]) for name, value in given.items()}
    return {name: own.get(name, one.option.default) for name, one in known.items()}


def accepted(name: str, value: Any, one: Declared) -> Any:
    """A value of an option, checked and as its type.

    Raises:
        BadOption: If it is refused.
    """
    if one.option.check is not None:
        one.option.check(name, value)
    try:
        return fitted(name, value, one.type, one.option.help)
    except BadOption:
        if not one.option.lenient:
            raise
        return value


def parted(kind: Any, given: Mapping[str, Any], function: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """All options of a kind, as `filled` gives them, and what was given beside them.

    Example:
        >>> from contextmix.options.verbs import Computing
        >>> parted(Computing, {"batch_size": 2, "normalise": True}, "explain")[1]
        {'normalise': True}
    """
    known = declared(kind)
    own = {name: value for name, value in given.items() if name in known}
    return filled(kind, own, function), {name: value for name, value in given.items() if name not in known}


def takes(function: F, also: Any = None) -> F:
    """Put the declared options of a function into its signature and the "Args" of its docstring.

    Args:
        function: Its docstring may say ``NAME: As declared in …`` of what it unpacks: the options take that place.
        also: A TypedDict of options that it takes too, among others that are declared elsewhere.
    """
    known = {**declared(function), **({} if also is None else declared(also))}
    signature = inspect.signature(function)
    spelled = {name for name, one in signature.parameters.items() if name in known and not is_unpacked(one)}

    @wraps(function)
    def call(*arguments: Any, **more: Any) -> Any:
        bound = signature.bind(*arguments, **more)
        for name in spelled & bound.arguments.keys():
            bound.arguments[name] = accepted(name, bound.arguments[name], known[name])
        return function(*bound.args, **bound.kwargs)

    call.__signature__ = _signature(signature, known)  # type: ignore[attr-defined]
    call.__doc__ = _documented(function.__doc__ or "", known)
    return cast(F, call)


def _signature(own: inspect.Signature, known: Mapping[str, Declared]) -> inspect.Signature:
    """What a function spells out, and the options that it unpacks."""
    spelled = [one for one in own.parameters.values() if not is_unpacked(one)]
    plain = [one for one in spelled if one.kind is not inspect.Parameter.VAR_KEYWORD]
    typed = [one.replace(annotation=known[one.name].type) if one.name in known else one for one in plain]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=one.option.default, annotation=one.type)
        for name, one in known.items()
        if name not in {each.name for each in plain}
    ]
    return own.replace(parameters=[*typed, *more, *(one for one in spelled if one not in plain)])


def described(one: Option) -> str:
    """The help text and what happens when the option is left out, for a call in Python."""
    told = f"{one.help} {one.python}".strip()
    return f"{told} Default: {one.left_out}." if one.left_out else told


def _option(hint: Any) -> Option | None:
    return next((one for one in get_args(hint)[1:] if isinstance(one, Option)), None)


def is_unpacked(one: inspect.Parameter) -> bool:
    """Whether a parameter stands for the options of a TypedDict."""
    return one.kind is inspect.Parameter.VAR_KEYWORD and "Unpack[" in str(one.annotation)


def _documented(doc: str, known: Mapping[str, Declared]) -> str:
    lines = doc.splitlines()
    start = next((place for place, line in enumerate(lines) if line.strip() == "Args:"), None)
    if start is None:
        return doc
    indent = len(lines[start]) - len(lines[start].lstrip()) + 4
    end = next((place for place in range(start + 1, len(lines)) if not lines[place].strip()), len(lines))
    at = next((place for place in range(start, end) if re.match(r" *options: ", lines[place])), end)
    replaced = next((place for place in range(start, end) if re.match(r" *\w+: As declared in ", lines[place])), None)
    there = {line.strip().partition(":")[0] for place, line in enumerate(lines[:end]) if start < place != replaced}
    told = [f"{' ' * indent}{name}: {described(one.option)}" for name, one in known.items() if name not in there]
    if replaced is None:
        return "\n".join([*lines[:at], *told, *lines[at:]])
    return "\n".join([*lines[:replaced], *told, *lines[replaced + 1 :]])
