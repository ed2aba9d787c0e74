"""Arguments and options that several verbs take, and what their texts mean."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typing_extensions import TypedDict

from contextmix.errors import BadInput, BadOption
from contextmix.options.catalogue import (
    METHODS,
    MODEL,
    MethodName,
    OwnOptions,
    Position,
    Query,
    ShownLayers,
    Truncate,
    Words,
)
from contextmix.options.option import Option, declared
from contextmix.options.sets import Contrasting, Encoding, Loading, Precision
from contextmix.options.spelling import options_by_owner
from contextmix.options.values import precision
from contextmix.options.writing import Continuation, Contrast, Generation, MaxNewTokens, Output, Together

if TYPE_CHECKING:
    from contextmix.models.traced_model import TracedModel
    from contextmix.plugins.selection import Selection

TextArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT",
        help="The text; '-' or no text reads it from a pipe. For image and sound models: a file.",
        show_default=False,
    ),
]
DataArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA...",
        help="Files or globs (.jsonl .csv .tsv .parquet .txt), or the name of a data set for the library datasets.",
    ),
]
DataOption = typer.Option("--data", help="Files, as for 'contextmix run'. Repeatable.")
OutOption = Annotated[
    Path, typer.Option("--out", help="Folder for the results. Running the same command again resumes where it stopped.")
]


def _file(flag: str, help_text: str) -> Any:
    return typer.Option(flag, help=help_text, show_default=False)


FileOption = Annotated[Path | None, _file("--file", "Read the text from this file.")]
JsonOption = Annotated[Path | None, _file("--json", "Also write the full result to this file.")]
PictureOption = Annotated[
    Path | None, _file("--picture", "Also draw the result over the image or sound, in this .png file.")
]
HtmlOption = Annotated[
    Path | None, _file("--html", "Also write an interactive page with all rows and layers to this file.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the output file if it exists.")]


class Explaining(TypedDict, total=False):
    """Flags of verbs that explain a text by one method."""

    method: MethodName
    options: OwnOptions
    words: Words


class ExplainFlags(Loading, Explaining, Contrasting, Encoding, total=False):
    """Flags of ``explain``."""

    query: Query
    layers: ShownLayers
    position: Position
    output: Output
    generation: Generation
    truncate: Truncate


class GenerateFlags(Precision, Explaining, Encoding, total=False):
    """Flags of ``generate``."""

    model: Annotated[Any, MODEL.but(default="demo-decoder")]
    max_new_tokens: MaxNewTokens
    continuation: Continuation
    contrast: Contrast
    together: Together
    generation: Generation


class CompareFlags(Loading, Contrasting, Encoding, total=False):
    """Flags of ``compare``."""

    methods: Annotated[Sequence[str], METHODS.but(otherwise="globenc, attention_rollout, norm_encoder, attention")]
    heads: Annotated[bool, Option("In the page, show the heads of attention and norms separately.", default=False)]
    query: Query
    truncate: Truncate


def read_text(text: str | None, file: Path | None) -> str:
    """The text that was given, in whichever way."""
    if file is not None and text is not None:
        raise BadOption("Got both TEXT and --file. Give only one of them.")
    if file is not None:
        return _text_of(file)
    if text is None or text == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise BadInput('There is no text to explain. Try: contextmix explain "a deep and meaningful film ."')
        return _piped(sys.stdin.buffer.read(), sys.stdin.encoding)
    return text


def _text_of(file: Path) -> str:
    """What a file says."""
    try:
        # A named one: what a shell opens for a command has no place, or one in /dev.
        if file.is_fifo() and file.resolve().exists() and file.resolve().parts[1:2] != ("dev",):
            raise BadInput(
                f"{file} is a named pipe, and reading it could wait forever. Use a shell pipe instead: "
                f"cat {file} | contextmix explain -"
            )
        return file.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as reason:
        raise BadInput(
            f"Cannot read the text from {file}: byte {reason.start + 1} is not UTF-8. Save the file as UTF-8."
        ) from reason
    except (OSError, ValueError) as reason:
        raise BadInput(f"Cannot read the text from {file}: {getattr(reason, 'strerror', None) or reason}.") from reason


def _piped(content: bytes, console: str) -> str:
    """What came through a pipe: UTF-8, or what the console writes where that is something else."""
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as reason:
        if not console.lower().replace("_", "-").startswith("utf"):
            with contextlib.suppress(UnicodeDecodeError):
                return content.decode(console).strip()
        raise BadInput(
            f"Cannot read the text from the pipe: byte {reason.start + 1} is not UTF-8. Send UTF-8."
        ) from reason


def contrast_of(asked: Mapping[str, Any]) -> Any:
    """The target, or the two of a contrast."""
    target, against = asked["target"], asked["against"]
    if against is not None and target is None:
        raise BadOption(f"--against {against!r} needs a --target to compare with.")
    return target if against is None else (target, against)


def refuse_output(
    path: Path | None, force: bool, suffixes: tuple[str, ...] = (".json", ".safetensors"), option: str = "--json"
) -> None:
    """Before the work, not after it."""
    if path is not None:
        from contextmix.results.files import refuse_place

        if path.suffix.lower() not in suffixes:
            raise BadOption(
                f"{option} writes {' or '.join(suffixes)}, chosen by the file name's ending; got {str(path)!r}."
            )
        refuse_place(path, force)


def selected(name: str, options: Mapping[str, Any] | None = None) -> Selection:
    """What a method will do; its name and options are refused before torch is loaded, not after it."""
    from contextmix.plugins.selection import selected

    return selected(name, None, options)


def refuse_names(asked: Mapping[str, Any]) -> None:
    """Methods, metrics, models, precisions and options that do not exist: before torch is loaded, let alone a model."""
    from contextmix.plugins.selection import selected_metric

    precision("dtype", asked.get("dtype"))
    refuse_models(asked.get("model"), asked.get("other_model"))
    chosen = {name: asked.get(name, ()) for name in ("methods", "metrics")}
    names = {name: () if given == "all" else given for name, given in chosen.items()}
    reference = [asked["reference"]] if "reference" in asked else []
    for method in dict.fromkeys([*names["methods"], *reference, *asked.get("options", {})]):
        selected(method, asked.get("options", {}).get(method))
    for metric in dict.fromkeys([*names["metrics"], *asked.get("metric_options", {})]):
        selected_metric(metric, asked.get("metric_options", {}).get(metric))


def refuse_models(*names: str | None) -> None:
    """Models that can be nowhere, before torch is loaded."""
    from contextmix.tracing.inputs.names import refuse_absent

    for name in names:
        if name is not None:
            refuse_absent(name)


def refuse_comparison(names: list[str]) -> None:
    """Methods that cannot be compared, before torch is loaded."""
    from contextmix.plugins.selection import selected_to_compare

    selected_to_compare(names)


def hide_loading() -> None:
    """No progress bars of other libraries among the results."""
    from contextmix.tracing.inputs.checkpoints import hide_progress_bars

    hide_progress_bars()


def load_model(asked: Mapping[str, Any]) -> TracedModel:
    """The model, while a line says that it is loading."""
    import contextmix

    refuse_models(asked["model"])
    hide_loading()
    with Console(stderr=True).status(f"Loading {asked['model']} …"):
        return contextmix.load(asked["model"], **{name: asked[name] for name in declared(Precision)})


def resolved(given: Mapping[str, Any], methods: Any, metrics: Sequence[str] = ()) -> dict[str, Any]:
    """What was given, with the options of methods and metrics under the names of their owners."""
    owners = {"options": ("--option", methods), "metric_options": ("--metric-option", metrics)}
    read = {name: options_by_owner(given[name], names, flag) for name, (flag, names) in owners.items() if name in given}
    return {**given, **read}


def files_of(data: Sequence[str] | None) -> str | list[str] | None:
    """One file, or several."""
    return data[0] if data and len(data) == 1 else list(data) if data else None
