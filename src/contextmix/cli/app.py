"""The command line itself: its name, how it refuses, and how declared options become flags."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from contextmix.cli.spoken import spoken
from contextmix.errors import ContextMixError, Interrupted
from contextmix.options.option import Declared, Option, declared, is_unpacked

_ORDER = ("explain", "answer", "generate", "compare", "serve", "run", "evaluate", "reproduce")


class Verbs(TyperGroup):
    """Every refusal is one clear sentence and exit status 1; Ctrl-C is one too, and exit status 130.

    A run that was stopped and can go on ends with 75, which means "try again" (EX_TEMPFAIL).
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """What people ask for first comes first."""
        return sorted(self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The first sentence of each verb in full; click would cut it."""
        found = [(name, self.commands[name].get_short_help_str(limit=1000)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(found)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except ContextMixError as refusal:
            Console(stderr=True).print(Text(f"contextmix: {self._told(refusal, ctx)}"), soft_wrap=True)
            raise typer.Exit(75 if isinstance(refusal, Interrupted) else 1) from refusal
        except KeyboardInterrupt as stop:
            Console(stderr=True).print("contextmix: stopped. Nothing was written.")
            raise typer.Exit(130) from stop

    def _told(self, refusal: ContextMixError, ctx: Any) -> str:
        """The refusal in the words of the verb that was asked for."""
        verb = self.commands.get(ctx.invoked_subcommand)
        flags = {one.name: one.opts[0] for one in verb.params if one.opts[0].startswith("--")} if verb else {}
        return spoken(str(refusal), flags)


app = typer.Typer(
    cls=Verbs,
    help="Show which input tokens contribute to a Transformer's output.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a verb. The options that it unpacks become flags, with their help texts and checks.

    The function gets those that were given, as values: what the command line writes as text is read before.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [one for one in signature.parameters.values() if not is_unpacked(one)]
    known = {name: one for name, one in declared(function).items() if name not in {one.name for one in own}}

    @wraps(function)
    def verb(**given: Any) -> None:
        values = {one.name: given[one.name] for one in own}
        values |= _read({name: given[name] for name in known}, known)
        function(**values)

    flags = [_flag(name, one) for name, one in known.items()]
    verb.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    verb.__annotations__ = {one.name: one.annotation for one in (*own, *flags)}
    bare = {flag_of(name, one.option): one.option.bare for name, one in known.items() if one.option.bare}
    app.command(cls=_reading(bare) if bare else None)(verb)
    return function


def _reading(bare: Mapping[str, str]) -> type[TyperCommand]:
    """A command some of whose flags may stand without their value."""

    class Verb(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, spelled_out(args, bare))

    return Verb


def spelled_out(words: Sequence[str], bare: Mapping[str, str]) -> list[str]:
    """The words of a command line, with the values of flags that stand without one.

    Example:
        >>> spelled_out(["--ablate", "--masks", "8"], {"--ablate": "source_occlusion"})
        ['--ablate', 'source_occlusion', '--masks', '8']
    """
    found: list[str] = []
    for place, word in enumerate(words):
        found.append(word)
        if word == "--":
            return [*found, *words[place + 1 :]]
        if word in bare and (place + 1 == len(words) or words[place + 1].startswith("-")):
            found.append(bare[word])
    return found


def flag_of(name: str, option: Option) -> str:
    """How an option is called on the command line."""
    return option.flag or f"--{name.replace('_', '-')}"


def _flag(name: str, one: Declared) -> inspect.Parameter:
    kind = one.option.spelling.type if one.option.spelling is not None else _plain(one.type)
    flag = flag_of(name, one.option)
    if kind is bool and one.option.default is None:  # yes, no, or neither said
        names: str = f"{flag}/--no-{flag.removeprefix('--')}"
        kind, default = bool | None, None
    elif kind is bool:
        names = f"{flag}/--no-{flag.removeprefix('--')}" if one.option.default else flag
        default = one.option.default
    else:
        kind, default, names = kind | None, None, flag
    option = typer.Option(names, help=_told(one.option), show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _told(option: Option) -> str:
    bare = f"Without a value: {option.bare}." if option.bare else ""
    parts = [option.help, bare, option.spelling.told if option.spelling is not None else ""]
    return " ".join(filter(None, [*parts, f"[default: {option.left_out}]" if option.left_out else ""]))


def _plain(kind: Any) -> Any:
    """The type of a value as the command line reads it: without None, and text for one of a few words."""
    if isinstance(kind, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    return str if get_origin(kind) is Literal else kind


def _read(given: Mapping[str, Any], known: Mapping[str, Declared]) -> dict[str, Any]:
    found = {}
    for name, value in given.items():
        option = known[name].option
        if value is None or value == [] or value == option.default:
            continue
        found[name] = value if option.spelling is None else option.spelling.read(value, flag_of(name, option))
    return found
