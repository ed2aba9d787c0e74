"""The verbs of contextmix for a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from typer.core import TyperGroup

from contextmix.errors import BadInput, BadOption, ContextMixError
from contextmix.tokens import printable

if TYPE_CHECKING:
    from contextmix import TokenMap
    from contextmix.model import TracedModel
    from contextmix.plan import Plan


class Verbs(TyperGroup):
    """Every refusal is one clear sentence and exit status 1; Ctrl-C is one too, and exit status 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except ContextMixError as refusal:
            Console(stderr=True).print(Text(f"contextmix: {refusal}"), soft_wrap=True)
            raise typer.Exit(1) from refusal
        except KeyboardInterrupt as stop:
            Console(stderr=True).print("contextmix: stopped; nothing was written.")
            raise typer.Exit(130) from stop


app = typer.Typer(
    cls=Verbs,
    help="Which tokens made this? Context mixing and token attribution for Hugging Face Transformers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

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
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the output file if it exists.")]


@app.command()
def explain(
    text: TextArgument = None,
    file: FileOption = None,
    model: ModelOption = "demo",
    method: Annotated[str, typer.Option("--method", help="A name from 'contextmix methods'.")] = "globenc",
    query: QueryOption = None,
    layers: Annotated[str | None, typer.Option("--layers", help="'all', or numbers such as 0,5 or -1.")] = None,
    target: TargetOption = None,
    against: AgainstOption = None,
    position: PositionOption = None,
    output: Annotated[
        str | None, typer.Option("--output", help="Of an encoder–decoder: what it wrote. [default: what it writes]")
    ] = None,
    option: OptionOption = None,
    words: Annotated[bool, typer.Option("--words", help="Merge sub-words into words.")] = False,
    truncate: TruncateOption = False,
    dtype: DtypeOption = "float32",
    device: DeviceOption = None,
    json_file: JsonOption = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Also draw it over the image or the sound, into this .png file.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Show which tokens of a text made the model's representation of one token, or its score of a class."""
    source, place, blocks, options = _read(text, file), _query(query), _layers(layers), _options(option or [])
    chosen = _contrast(target, against)
    _refuse_output(json_file, force)
    _refuse_output(picture, force, (".png",), "--picture")
    plan = _planned(method, options)
    options |= {} if output is None else {"output": output}
    traced = _load(model, dtype, device)
    # One row is cheaper than all of them, but a file holds them all, and a word's row is the mean of its pieces' rows.
    whole = plan.of_model or words or json_file is not None
    usual = 0 if plan.of_model else traced.usual_query if place is None else place
    row = place if plan.of_model else None if whole else usual
    options |= {} if position is None else {"position": _query(position)}
    result = traced.explain(source, method, layers=blocks, target=chosen, truncate=truncate, query=row, **options)
    result = result.words() if words else result
    shown = result.row(usual) if "query" in result.dims else result
    drawn = None if picture is None else shown.overlay(source)  # what cannot be drawn is refused before anything shows
    _print_prediction(result.provenance.notes, model)
    shown.show()
    if json_file is not None:
        result.save(json_file, overwrite=force)
    if picture is not None:
        _draw(drawn, picture, force)


@app.command()
def generate(
    text: TextArgument = None,
    file: FileOption = None,
    model: ModelOption = "demo-decoder",
    method: Annotated[str, typer.Option("--method", help="A name from 'contextmix methods'.")] = "globenc",
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="How many tokens to say at most.")] = 10,
    continuation: Annotated[
        str | None, typer.Option("--continuation", help="Explain this text instead of what the model says.")
    ] = None,
    contrast: Annotated[
        bool, typer.Option("--contrast", help="Explain why each token and not the most probable other one.")
    ] = False,
    option: OptionOption = None,
    words: Annotated[bool, typer.Option("--words", help="Merge sub-words into words.")] = False,
    dtype: DtypeOption = "float32",
    device: DeviceOption = None,
    json_file: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Let a decoder go on with a text, and show which tokens made each new token."""
    source, options = _read(text, file), _options(option or [])
    _refuse_output(json_file, force)
    plan = _planned(method, options)
    traced = _load(model, dtype, device)
    # A mixing map has a row per layer: the last one is shown, and a file holds them all.
    every = plan.of_model or plan.aggregation is not None or json_file is not None
    result = traced.explain_generation(
        source,
        method,
        max_new_tokens=max_new_tokens,
        continuation=continuation,
        contrast=contrast,
        layers=None if every else [-1],
        **options,
    )
    result = result.words() if words else result
    _print_story(result, model)
    (result.layer(-1) if "layer" in result.dims else result).show()
    if json_file is not None:
        result.save(json_file, overwrite=force)


@app.command()
def compare(
    text: TextArgument = None,
    file: FileOption = None,
    methods: Annotated[str, typer.Option("--methods", help="Names from 'contextmix methods', with commas.")] = (
        "globenc,attention_rollout,norm_encoder,attention"
    ),
    model: ModelOption = "demo",
    query: QueryOption = None,
    target: TargetOption = None,
    against: AgainstOption = None,
    truncate: TruncateOption = False,
    dtype: DtypeOption = "float32",
    device: DeviceOption = None,
) -> None:
    """Show several methods on one text side by side, and how far their rankings agree."""
    names = [name.strip() for name in methods.split(",") if name.strip()]
    source, place = _read(text, file), _query(query)
    for name in names:
        _planned(name, {})
    traced = _load(model, dtype, device)
    place = traced.usual_query if place is None else place
    found = traced.compare(source, names, query=place, target=_contrast(target, against), truncate=truncate)
    console = Console()
    queries = next(iter(found.rows.values())).query_tokens
    asked = queries.pieces[queries.position(place)]
    console.print(f"Scores of each token for {asked!r}, each method divided by its largest.")
    table = Table("token", *found.rows, box=None, pad_edge=False)
    scaled = found.to_dataframe() / found.to_dataframe().abs().max()
    for token, *scores in scaled.itertuples(name=None):
        table.add_row(Text(token), *(f"{score:.3f}" for score in scores))
    console.print(table)
    console.print("\nSpearman's rank correlation over all tokens (nan: a method ranks nothing)")
    table = Table("", *found.rows, box=None, pad_edge=False)
    for name, *scores in found.spearman.itertuples(name=None):
        table.add_row(name, *(f"{score:+.2f}" for score in scores))
    console.print(table)


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="'demo', a folder, or a name on the Hugging Face hub.")],
    text: Annotated[str | None, typer.Option("--text", help="Check on this text. [default: a short probe]")] = None,
    dtype: DtypeOption = "float32",
    device: DeviceOption = None,
) -> None:
    """Prove that a model can be read: its anatomy, and whether its parts add up to what it computes."""
    traced = _load(model, dtype, device)
    report = traced.check(text)
    console = Console()
    console.print(
        f"{model}: {type(traced.model).__name__}, {len(report.anatomy)} blocks ({', '.join(report.anatomy.layouts)}), "
        f"{report.n_heads} heads"
    )
    table = Table("check", "relative error", "what it shows", box=None, pad_edge=False)
    checks = report.checks
    table.add_row(
        "conservation", f"{checks.conservation:.1e}", "attention · value · W_O + bias is the recorded attention output"
    )
    table.add_row(
        "block equation",
        f"{checks.block_equation:.1e}",
        "residual, attention, norms and feed-forward rebuild each block",
    )
    table.add_row("tap count", f"{checks.layers} of {len(report.anatomy)}", "every block's attention was heard")
    table.add_row("parity", f"{report.parity:.1e}", "outputs with and without the tap are equal")
    console.print(table)
    for block in report.anatomy.first:
        for name, part in (("attention", block.attention), ("feed-forward", block.ffn)):
            norms = [
                f"{kind} {norm.path} ({norm.kind})"
                for kind in ("norm_in", "norm_out", "norm_after")
                if (norm := getattr(part, kind))
            ]
            if part.output:  # self-attention before cross-attention is a step without a feed-forward part
                console.print(Text(f"{name} of {block.path}: output {part.output}; {'; '.join(norms) or 'no norm'}"))


@app.command()
def methods() -> None:
    """List all methods and aggregations with formula, paper and cost."""
    import contextmix

    console = Console()
    for frame in (contextmix.methods(), contextmix.aggregations()):
        name = Column(str(frame.index.name), no_wrap=True, min_width=max(map(len, frame.index)))  # people copy it
        table = Table(name, *frame.columns, box=None, pad_edge=False)
        for row in frame.itertuples(name=None):
            table.add_row(*map(Text, map(str, row)))
        console.print(table)
        console.print()


@app.command()
def models(
    model_type: Annotated[str | None, typer.Option("--type", help="Only this model type, such as llama.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only 'verified', 'refused' or 'not tried'.")] = None,
) -> None:
    """List the model types of transformers that can be read, and why the others cannot."""
    import contextmix

    frame = contextmix.models(model_type, status=status)
    console = Console()
    one_line = len(frame) > 1  # a list shows where each stands; one type alone is told in full
    names = Column("model type", no_wrap=True, min_width=max(map(len, frame.index), default=0))
    status_column = Column("status", no_wrap=True, min_width=9)
    table = Table(names, status_column, "layout (largest error), or reason", box=None, pad_edge=False)
    for name, row in frame.iterrows():
        told = Text(_told(row), no_wrap=one_line, overflow="ellipsis" if one_line else "fold")
        table.add_row(Text(str(name)), Text(row["status"]), told)
    console.print(table)
    counts = ", ".join(f"{count} {name}" for name, count in frame["status"].value_counts().items())
    versions = frame.attrs["versions"]
    console.print(f"\n{counts} (transformers {versions['transformers']}); 'contextmix check' proves a model of yours")


def _told(row: Any) -> str:
    """What is known of a model type: its layout and the largest error, or why it cannot be read."""
    if row["status"] != "verified":
        return re.sub(r"^'[^']*'( \([^)]*\))?:? ", "", str(row["reason"]))  # it begins with the name
    error = row[["conservation", "block_equation", "parity"]].max()
    return f"{row['layouts']} ({error:.0e})" + (f", its {row['part']}" if row["part"] else "")


def _read(text: str | None, file: Path | None) -> str:
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


def _query(query: str | None) -> int | str | None:
    if query is None:
        return None
    return int(query) if re.fullmatch("-?[0-9]+", query) else query


def _contrast(target: str | None, against: str | None) -> Any:
    if against is not None and target is None:
        raise BadOption(f"--against {against!r} needs a --target that it is compared with.")
    return target if against is None else (target, against)


def _layers(layers: str | None) -> Any:
    if layers is None or layers == "all":
        return layers
    try:
        return [int(layer) for layer in layers.split(",")]
    except ValueError:
        raise BadOption(f"--layers takes 'all' or numbers with commas such as 0,5 or -1; got {layers!r}.") from None


def _refuse_output(
    path: Path | None, force: bool, suffixes: tuple[str, ...] = (".json", ".safetensors"), option: str = "--json"
) -> None:
    """Before the work, not after it."""
    if path is not None:
        from contextmix.storage import refuse_place

        if path.suffix.lower() not in suffixes:
            raise BadOption(f"{option} writes {' or '.join(suffixes)}, by the ending of the name; got {str(path)!r}.")
        refuse_place(path, force)


def _draw(image: Any, path: Path, force: bool) -> None:
    from contextmix.storage import write_atomically

    data = io.BytesIO()
    image.save(data, "PNG")
    write_atomically(path, data.getvalue(), force)


def _planned(name: str, options: dict[str, Any]) -> Plan:
    """What a method will do; its name and options are refused before a model is loaded, not after it."""
    from contextmix.plan import make_plan

    return make_plan(name, None, options)


def _options(given: list[str]) -> dict[str, Any]:
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


def _load(model: str, dtype: str, device: str | None) -> TracedModel:
    import contextmix
    from contextmix.tracing.load import hide_progress_bars

    hide_progress_bars()
    with Console(stderr=True).status(f"Loading {model} …"):
        return contextmix.load(model, dtype=dtype, device=device)


def _print_prediction(notes: Any, model: str) -> None:
    found = notes.get("prediction")
    if found:
        where = next((f" {word} “{printable(found[word])}”" for word in ("after", "at") if word in found), "")
        label = f"“{printable(found['label'])}”" if where else found["label"]
        Console().print(Text(f"{model} says{where}: {label} ({found['probability']:.1%})\n"))


def _print_story(result: TokenMap, model: str) -> None:
    """Prompt and new tokens, these in bold, with what the model gave them."""
    from contextmix.views.picture import spelled

    made, tokens = result.provenance.notes.get("generation"), result.tokens
    if made is None:  # an encoder–decoder writes something of its own; its rows bear the names
        return
    start = len(tokens) - len(result.query_tokens)
    said = [gap + label for gap, label in spelled(tokens)]
    shown = [place for place, special in enumerate(tokens.special) if place >= start or not special]
    before, after = ("".join(said[place] for place in shown if (place >= start) is new) for new in (False, True))
    low, high = (f"{bound(made['probabilities']):.1%}" for bound in (min, max))
    story = Text(f"{model} says: " if made["greedy"] else f"{model} reads: ").append(before.lstrip())
    story.append(after, "bold").append(f"\nEach new token had a probability from {low} to {high}.\n", "dim")
    Console().print(story)


def main() -> None:
    """Run the command line; usage errors exit with 2, for the rest see `Verbs`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    app()
