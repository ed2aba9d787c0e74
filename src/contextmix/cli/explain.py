"""Verbs that explain one text: explain, generate, compare."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from contextmix.cli import arguments as given
from contextmix.cli.app import app
from contextmix.errors import BadOption
from contextmix.tokens.pieces import printable

if TYPE_CHECKING:
    from contextmix import TokenMap
    from contextmix.models.traced_model import TracedModel
    from contextmix.plugins.plan import Plan
    from contextmix.results.exploration import Exploration


@app.command()
def explain(
    text: given.TextArgument = None,
    file: given.FileOption = None,
    model: given.ModelOption = "demo",
    method: Annotated[
        str, typer.Option("--method", help="A name from 'contextmix methods', or two as in norm+rollout.")
    ] = "globenc",
    query: given.QueryOption = None,
    layers: Annotated[str | None, typer.Option("--layers", help="'all', or numbers such as 0,5 or -1.")] = None,
    target: given.TargetOption = None,
    against: given.AgainstOption = None,
    position: given.PositionOption = None,
    output: Annotated[
        str | None, typer.Option("--output", help="Of an encoder–decoder: what it wrote. [default: what it writes]")
    ] = None,
    option: given.OptionOption = None,
    words: Annotated[bool, typer.Option("--words", help="Merge sub-words into words.")] = False,
    truncate: given.TruncateOption = False,
    dtype: given.DtypeOption = "float32",
    device: given.DeviceOption = None,
    json_file: given.JsonOption = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Also draw it over the image or the sound, into this .png file.")
    ] = None,
    html_file: given.HtmlOption = None,
    force: given.ForceOption = False,
) -> None:
    """Show which tokens of a text made the model's representation of one token, or its score of a class."""
    source, place, blocks, options = (
        given.read_text(text, file),
        given.query_of(query),
        given.layers_of(layers),
        given.options_of(option or []),
    )
    chosen = given.contrast_of(target, against)
    given.refuse_output(json_file, force)
    given.refuse_output(picture, force, (".png",), "--picture")
    given.refuse_output(html_file, force, (".html", ".htm"), "--html")
    plan = given.planned(method, options)
    options |= {} if output is None else {"output": output}
    traced = given.load_model(model, dtype, device)
    # One row is cheaper than all of them, but a file holds them all, and a word's row is the mean of its pieces' rows.
    whole = plan.of_model or words or json_file is not None or html_file is not None
    # A page has all layers too, of which the terminal shows the last of a recipe, as it does without a page.
    every = html_file is not None and blocks is None and plan.aggregation is not None
    usual = 0 if plan.of_model else traced.usual_query if place is None else place
    row = place if plan.of_model else None if whole else usual
    options |= {} if position is None else {"position": given.query_of(position)}
    full = traced.explain(
        source, method, layers="all" if every else blocks, target=chosen, truncate=truncate, query=row, **options
    )
    result = full.layer(-1) if every else full
    result = result.words() if words else result
    shown = result.row(usual) if "query" in result.dims else result
    drawn = None if picture is None else shown.overlay(source)  # what cannot be drawn is refused before anything shows
    _print_prediction(result.provenance.notes, model)
    shown.show()
    if json_file is not None:
        result.save(json_file, overwrite=force)
    if picture is not None:
        _draw(drawn, picture, force)
    if html_file is not None:
        _write_page(_explored(full, plan, usual, source), html_file, force)


@app.command()
def generate(
    text: given.TextArgument = None,
    file: given.FileOption = None,
    model: given.ModelOption = "demo-decoder",
    method: Annotated[
        str, typer.Option("--method", help="A name from 'contextmix methods', or two as in norm+rollout.")
    ] = "globenc",
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="How many tokens to say at most.")] = 10,
    continuation: Annotated[
        str | None, typer.Option("--continuation", help="Explain this text instead of what the model says.")
    ] = None,
    contrast: Annotated[
        bool, typer.Option("--contrast", help="Explain why each token and not the most probable other one.")
    ] = False,
    option: given.OptionOption = None,
    words: Annotated[bool, typer.Option("--words", help="Merge sub-words into words.")] = False,
    dtype: given.DtypeOption = "float32",
    device: given.DeviceOption = None,
    json_file: given.JsonOption = None,
    force: given.ForceOption = False,
) -> None:
    """Let a decoder go on with a text, and show which tokens made each new token."""
    source, options = given.read_text(text, file), given.options_of(option or [])
    given.refuse_output(json_file, force)
    plan = given.planned(method, options)
    traced = given.load_model(model, dtype, device)
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
    text: given.TextArgument = None,
    file: given.FileOption = None,
    methods: Annotated[str, typer.Option("--methods", help="Names from 'contextmix methods', with commas.")] = (
        "globenc,attention_rollout,norm_encoder,attention"
    ),
    model: given.ModelOption = "demo",
    query: given.QueryOption = None,
    target: given.TargetOption = None,
    against: given.AgainstOption = None,
    truncate: given.TruncateOption = False,
    dtype: given.DtypeOption = "float32",
    device: given.DeviceOption = None,
    html_file: given.HtmlOption = None,
    heads: Annotated[
        bool, typer.Option("--heads", help="In the page, keep the heads of attention and norms apart.")
    ] = False,
    force: given.ForceOption = False,
) -> None:
    """Show several methods on one text side by side, and how far their rankings agree."""
    names = given.names_of(methods)
    source, place = given.read_text(text, file), given.query_of(query)
    chosen = given.contrast_of(target, against)
    given.refuse_output(html_file, force, (".html", ".htm"), "--html")
    if heads and html_file is None:
        raise BadOption("--heads keeps heads apart in a page, and none was asked for: say --html FILE.")
    given.refuse_comparison(names)
    traced = given.load_model(model, dtype, device)
    place = traced.usual_query if place is None else place
    explored = None
    if html_file is not None:
        explored = _explore(traced, source, names, heads=heads, query=place, target=chosen, truncate=truncate)
    if explored is None or heads:  # rows of single heads are not the rows of their methods
        found = traced.compare(source, names, query=place, target=chosen, truncate=truncate)
    else:
        found = explored.comparison()
    found.show()
    if explored is not None and html_file is not None:
        _write_page(explored, html_file, force)


def _explore(traced: TracedModel, source: str, names: list[str], **asked: Any) -> Exploration:
    """The full maps, while a line says how far they are; a terminal alone shows it."""
    with Console(stderr=True).status("Exploring …") as status:

        def told(done: float, what: str) -> None:
            status.update(f"{done:.0%} {what}")

        found: Exploration = traced.explore(source, names, progress=told, **asked)
        return found


def _explored(full: TokenMap, plan: Plan, query: int | str, source: str) -> Exploration:
    from contextmix.models.explore import about
    from contextmix.results.exploration import Exploration

    position = full.query_tokens.position(query) if "query" in full.dims else None
    over = source if full.tokens.places is not None else None
    return Exploration({plan.name: full}, position, about([plan]), over)


def _write_page(explored: Exploration, path: Path, force: bool) -> None:
    explored.save(path, overwrite=force)
    size = path.stat().st_size
    told = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    Console().print(Text(f"\nWrote {path} ({told}). Open it in a browser; it needs no network."), soft_wrap=True)


def _draw(image: Any, path: Path, force: bool) -> None:
    from contextmix.results.files import write_atomically

    data = io.BytesIO()
    image.save(data, "PNG")
    write_atomically(path, data.getvalue(), force)


def _print_prediction(notes: Any, model: str) -> None:
    found = notes.get("prediction")
    if found:
        where = next((f" {word} “{printable(found[word])}”" for word in ("after", "at") if word in found), "")
        label = f"“{printable(found['label'])}”" if where else found["label"]
        Console().print(Text(f"{model} says{where}: {label} ({found['probability']:.1%})\n"))


def _print_story(result: TokenMap, model: str) -> None:
    """Prompt and new tokens, these in bold, with what the model gave them."""
    from contextmix.views.drawing.picture import spelled

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
