"""Verbs that explain one text: explain, generate, compare."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import command
from contextmix.errors import BadOption, UnknownName, UnsupportedModel
from contextmix.options.option import filled
from contextmix.options.values import OF_REPRESENTATION, OF_SCORE
from contextmix.results.files import PAGES
from contextmix.tokens.pieces import printable

if TYPE_CHECKING:
    from contextmix import TokenMap
    from contextmix.models.traced_model import TracedModel
    from contextmix.plugins.selection import Selection
    from contextmix.results.exploration import Exploration


COMPARED = ("globenc", "attention_rollout", "norm_encoder", "attention")
"""What is compared where nothing was named."""

_OF_MIXING, _OF_SCORES = ("query", "layers"), ("target", "position")
_READING = ("truncate", "add_special_tokens")


@command
def explain(
    text: given.TextArgument = None,
    file: given.FileOption = None,
    json_file: given.JsonOption = None,
    picture: given.PictureOption = None,
    html_file: given.HtmlOption = None,
    force: given.ForceOption = False,
    **flags: Unpack[given.ExplainFlags],
) -> None:
    """Show which tokens of a text contributed to the representation of a token, or to the score of a class."""
    asked = filled(given.ExplainFlags, flags, "explain")
    source, place, options = given.read_text(text, file), asked["query"], dict(asked["options"] or {})
    chosen = given.contrast_of(asked)
    given.refuse_output(json_file, force)
    given.refuse_output(picture, force, (".png",), "--picture")
    given.refuse_output(html_file, force, PAGES, "--html")
    _refuse_options(asked["method"], options)
    own = dict(options)
    options |= {name: asked[name] for name in ("output", "position", "generation") if asked[name] is not None}
    traced = given.load_model(asked)
    mixing, scored = (any(asked[name] is not None for name in names) for names in (_OF_MIXING, _OF_SCORES))
    method = asked["method"] or traced.usual_method(mixing=mixing, score=scored)
    options = options if asked["method"] else {**traced.usual_options(method), **options}
    plan = given.selected(method, own)
    # One row is cheaper than all of them, but a file holds them all, and a word's row is the mean of its pieces' rows.
    whole = plan.of_model or asked["words"] or json_file is not None or html_file is not None
    # A page has all layers too, of which the terminal shows the last of a recipe, as it does without a page.
    every = html_file is not None and asked["layers"] is None and plan.aggregation is not None
    usual = 0 if plan.of_model else traced.query_of(source) if place is None else place
    row = place if plan.of_model else None if whole else usual
    options |= {"layers": "all" if every else asked["layers"], "target": chosen}
    options |= {name: asked[name] for name in ("truncate", "add_special_tokens")}
    full = traced.explain(source, method, query=row, **options)
    result = full.layer(-1) if every else full
    result = result.words() if asked["words"] else result
    shown = result.row(usual) if "query" in result.dims else result
    drawn = None if picture is None else shown.overlay(source)  # what cannot be drawn is refused before anything shows
    _print_prediction(result.provenance.notes, asked["model"])
    if asked["method"] is None and not mixing and not plan.of_model and "prediction" in result.provenance.notes:
        _show_reasons(traced, source, result.provenance.notes, {name: asked[name] for name in _READING}, asked["words"])
    shown.show()
    if json_file is not None:
        result.save(json_file, overwrite=force)
    if picture is not None:
        _draw(drawn, picture, force)
    if html_file is not None:
        _write_page(_explored(full, plan, usual, source), html_file, force)


@command
def generate(
    text: given.TextArgument = None,
    file: given.FileOption = None,
    json_file: given.JsonOption = None,
    html_file: given.HtmlOption = None,
    force: given.ForceOption = False,
    **flags: Unpack[given.GenerateFlags],
) -> None:
    """Let a decoder continue a text, and show which tokens contributed to each new token, or to all of them."""
    asked = filled(given.GenerateFlags, flags, "generate")
    source, options = given.read_text(text, file), asked["options"] or {}
    given.refuse_output(json_file, force)
    given.refuse_output(html_file, force, PAGES, "--html")
    _refuse_options(asked["method"], options)
    traced = given.load_model(asked)
    method = asked["method"] or traced.usual_method()
    plan = given.selected(method, options)
    # A mixing map has a row per layer: the last one is shown, and a file holds them all.
    every = plan.of_model or plan.aggregation is not None or json_file is not None or html_file is not None
    written = {name: asked[name] for name in ("max_new_tokens", "continuation", "contrast", "together", "generation")}
    written["add_special_tokens"] = asked["add_special_tokens"]
    layers = None if every else [-1]
    result = traced.explain_generation(source, method, layers=layers, **written, **options)
    _print_story(result, asked["model"])
    full = result
    result = result.words() if asked["words"] else result
    (result.layer(-1) if "layer" in result.dims else result).show()
    if json_file is not None:
        result.save(json_file, overwrite=force)
    if html_file is not None:
        _write_page(_explored(full, plan, 0, source), html_file, force)


@command
def compare(
    text: given.TextArgument = None,
    file: given.FileOption = None,
    html_file: given.HtmlOption = None,
    force: given.ForceOption = False,
    **flags: Unpack[given.CompareFlags],
) -> None:
    """Show several methods side by side on one text, and how well their rankings agree."""
    asked = filled(given.CompareFlags, flags, "compare")
    names = list(flags.get("methods", COMPARED))
    source, place, heads = given.read_text(text, file), asked["query"], asked["heads"]
    chosen = given.contrast_of(asked)
    given.refuse_output(html_file, force, PAGES, "--html")
    if heads and html_file is None:
        raise BadOption("--heads shows heads separately in a page, but there is no page. Add --html FILE.")
    given.refuse_comparison(names)
    traced = given.load_model(asked)
    place = traced.query_of(source) if place is None else place
    how = {"query": place, "target": chosen}
    how |= {name: asked[name] for name in ("truncate", "add_special_tokens")}
    explored = None if html_file is None else _explore(traced, source, names, heads=heads, **how)
    # Rows of single heads are not the rows of their methods.
    found = traced.compare(source, names, **how) if explored is None or heads else explored.comparison()
    found.show()
    if explored is not None and html_file is not None:
        _write_page(explored, html_file, force)


def _show_reasons(traced: TracedModel, source: Any, notes: Any, reading: Mapping[str, Any], words: bool) -> None:
    """What spoke for and against the predicted class, in front of what the representation is built from."""
    said = Console()
    try:
        found = traced.explain(source, OF_SCORE, **traced.usual_options(OF_SCORE), **reading)
    except UnsupportedModel:
        return  # the map of the representation stands by itself
    said.print(Text(f"Why “{printable(notes['prediction']['label'])}”?", "bold"))
    (found.words() if words else found).show()
    said.print(Text("\nWhat is the representation built from?", "bold"))


def _refuse_options(method: str | None, options: Mapping[str, Any]) -> None:
    """A method that does not exist, or options that it does not have, before torch is loaded.

    Without a method the model decides which one it is: the options must be those of one of the two.
    """
    if method is not None:
        given.selected(method, options)
        return
    try:
        given.selected(OF_REPRESENTATION, options)
    except UnknownName as refusal:
        try:
            given.selected(OF_SCORE, options)
        except UnknownName:
            raise refusal from None


def _explore(traced: TracedModel, source: str, names: list[str], **asked: Any) -> Exploration:
    """The full maps, while a line says how far they are; a terminal alone shows it."""
    with Console(stderr=True).status("Exploring …") as status:

        def told(done: float, what: str) -> None:
            status.update(f"{done:.0%} {what}")

        found: Exploration = traced.explore(source, names, progress=told, **asked)
        return found


def _explored(full: TokenMap, plan: Selection, query: int | str, source: str) -> Exploration:
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
    from contextmix.views.drawing.running_text import spelled

    made, tokens = result.provenance.notes.get("generation"), result.tokens
    if made is None:  # an encoder–decoder writes something of its own; its rows bear the names
        return
    start = made["prompt_tokens"]
    said = [gap + label for gap, label in spelled(tokens)]
    shown = [place for place, special in enumerate(tokens.special) if place >= start or not special]
    before, after = ("".join(said[place] for place in shown if (place >= start) is new) for new in (False, True))
    low, high = (f"{bound(made['probabilities']):.1%}" for bound in (min, max))
    story = Text(f"{model} says: " if "settings" in made else f"{model} reads: ").append(before.lstrip())
    story.append(after, "bold").append(f"\nThe new tokens had probabilities from {low} to {high}.\n", "dim")
    Console().print(story)
