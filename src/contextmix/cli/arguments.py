"""Arguments and options that several verbs take, and what their texts mean."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from contextmix.errors import BadInput, BadOption

if TYPE_CHECKING:
    from contextmix.models.traced_model import TracedModel
    from contextmix.plugins.plan import Plan

TextArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT", help="The text; '-' or nothing reads it from a pipe. For a model of images or sounds: a file."
    ),
]
FileOption = Annotated[Path | None, typer.Option("--file", help="Read the text from this file.")]
ModelOption = Annotated[
    str, typer.Option("--model", help="'demo', 'demo-decoder' (built in), a folder, or a name on the Hugging Face hub.")
]
QueryOption = Annotated[
    str | None,
    typer.Option("--query", help="The token to explain, by text or position. [default: the first; a decoder's last]"),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", help="The class or next token, for methods that explain its score. [default: the predicted one]"
    ),
]
AgainstOption = Annotated[
    str | None, typer.Option("--against", help="Explain how far the target's score is above this one's.")
]
PositionOption = Annotated[
    str | None,
    typer.Option("--position", help="The token after which the next one is explained. [default: the last]"),
]
TruncateOption = Annotated[bool, typer.Option("--truncate", help="Cut a text that is too long instead of refusing it.")]
DtypeOption = Annotated[
    str, typer.Option("--dtype", help="Precision to load the model in, or 'auto' for the stored one.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="Where to run, such as cuda. [default: cpu]")]
OptionOption = Annotated[
    list[str] | None, typer.Option("--option", help="Of the method, such as distance=euclidean; repeatable.")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the full result to this file.")]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Also write all rows and layers into this page, to look into them.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the output file if it exists.")]

MetricOptionOption = Annotated[
    list[str] | None, typer.Option("--metric-option", help="Of a metric, such as token_f1.top=5; repeatable.")
]
ReferenceOption = Annotated[
    str, typer.Option("--reference", help="The method that metrics such as spearman compare with; it is measured too.")
]
RemovalOption = Annotated[
    str | None,
    typer.Option(
        "--removal",
        help="What replaces a token that metrics take away: mask, delete, unknown or pad. [default: mask; delete where "
        "there is no mask]",
    ),
]
RationaleFieldOption = Annotated[
    str | None,
    typer.Option(
        "--rationale-field", help="The column of what people marked: 0 or 1 per word, or [start, end) of characters."
    ),
]


def read_text(text: str | None, file: Path | None) -> str:
    """The text that was given, in whichever way."""
    if file is not None and text is not None:
        raise BadOption("Both TEXT and --file were given; which one should be explained? Give one of them.")
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as reason:
            raise BadInput(f"Cannot read the text from {file}: {reason}.") from reason
    if text is None or text == "-":
        if sys.stdin.isatty():
            raise BadInput('No text was given. Try: contextmix explain "a deep and meaningful film ."')
        try:
            return sys.stdin.read().strip()
        except UnicodeDecodeError as reason:
            raise BadInput(f"Cannot read the text from the pipe: {reason}. Give it in UTF-8.") from reason
    return text


def query_of(query: str | None) -> int | str | None:
    """A token by its position, or by its text."""
    if query is None:
        return None
    return int(query) if re.fullmatch("-?[0-9]+", query) else query


def contrast_of(target: str | None, against: str | None) -> Any:
    """The target, or the two of a contrast."""
    if against is not None and target is None:
        raise BadOption(f"--against {against!r} needs a --target that it is compared with.")
    return target if against is None else (target, against)


def layers_of(layers: str | None) -> Any:
    """Numbers of blocks, or all."""
    if layers is None or layers == "all":
        return layers
    try:
        return [int(layer) for layer in layers.split(",")]
    except ValueError:
        raise BadOption(f"--layers takes 'all' or numbers with commas such as 0,5 or -1; got {layers!r}.") from None


def refuse_output(
    path: Path | None, force: bool, suffixes: tuple[str, ...] = (".json", ".safetensors"), option: str = "--json"
) -> None:
    """Before the work, not after it."""
    if path is not None:
        from contextmix.results.files import refuse_place

        if path.suffix.lower() not in suffixes:
            raise BadOption(f"{option} writes {' or '.join(suffixes)}, by the ending of the name; got {str(path)!r}.")
        refuse_place(path, force)


def planned(name: str, options: dict[str, Any]) -> Plan:
    """What a method will do; its name and options are refused before a model is loaded, not after it."""
    from contextmix.plugins.plan import make_plan

    return make_plan(name, None, options)


def refuse_comparison(names: list[str]) -> None:
    """Methods that cannot be compared, before a model is loaded."""
    from contextmix.plugins.plan import plans_to_compare

    plans_to_compare(names)


def options_of(given: list[str]) -> dict[str, Any]:
    """``name=value`` texts as options; a value is read as JSON where it is JSON, such as 3, true or [0,1]."""
    found: dict[str, Any] = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not sign:
            raise BadOption(f"--option takes name=value, such as distance=euclidean; got {one!r}.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def hide_loading() -> None:
    """No progress bars of other libraries among the results."""
    from contextmix.tracing.inputs.checkpoints import hide_progress_bars

    hide_progress_bars()


def load_model(model: str, dtype: str, device: str | None) -> TracedModel:
    """The model, while a line says that it is loading."""
    import contextmix

    hide_loading()
    with Console(stderr=True).status(f"Loading {model} …"):
        return contextmix.load(model, dtype=dtype, device=device)


def names_of(text: str) -> list[str]:
    """Names with commas, as plug-ins write them."""
    return [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]


def options_by_owner(texts: list[str], names: list[str], flag: str = "--option") -> dict[str, dict[str, Any]]:
    """``name.option=value`` texts; where there is one name it may be left out."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        owner, dot, rest = text.partition("=")[0].partition(".")
        if dot:
            own = options_of([rest + text[len(owner) + 1 + len(rest) :]])
        elif len(names) == 1:
            owner, own = names[0], options_of([text])
        else:
            raise BadOption(f"{flag} {text!r} does not say whose it is; say NAME.{text}, of {', '.join(names)}.")
        found.setdefault(owner.replace("-", "_"), {}).update(own)
    return found
