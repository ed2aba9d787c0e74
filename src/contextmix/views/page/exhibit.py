"""Full maps of one input as a document that the explorer shows: in a notebook, a report, or a page of the server.

Everything in it is printable text or a number: no name of a token, a class or a model can act on a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contextmix.errors import BadInput, BadOption, WrongShape
from contextmix.maths.whole import whole_number
from contextmix.plugins.titles import QUESTIONS, asks, paper_of, title_of
from contextmix.results.exploration import Exploration, usual_query
from contextmix.results.provenance import Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens, printable
from contextmix.views.drawing.facts import facts, model_name
from contextmix.views.page.axes import axis, media, named
from contextmix.views.page.encoding import Bits, encoded

FORMAT, VERSION = "contextmix/exhibit", 1
FEW = 400_000
"""Most numbers, of all maps together, that get 16 bits each unless told otherwise; more get 8."""
MANY = 4_000_000
"""Above this, 85 of the 255 steps are used: a third of the fineness for a quarter less bytes."""


@dataclass(frozen=True)
class Shown:
    """A map, with what the registry of methods says about it.

    Attributes:
        token_map: The map.
        formula: One line; empty if unknown.
        paper: Its source in short; empty if unknown.
    """

    token_map: TokenMap
    formula: str = ""
    paper: str = ""


def explored(exploration: Exploration, bits: Bits | None = None) -> dict[str, Any]:
    """The document of an exploration; see `Exploration.to_exhibit`."""
    shown = {name: Shown(one, *exploration.about.get(name, ())) for name, one in exploration.maps.items()}
    return exhibit(shown, query=exploration.query, over=exploration.over, bits=bits)


def exhibit(
    maps: Mapping[str, TokenMap | Shown],
    *,
    title: str = "",
    query: int | str | None = None,
    over: Any = None,
    bits: Bits | None = None,
) -> dict[str, Any]:
    """The document of one or more maps of the same input.

    Args:
        maps: Name → map, the one to show first in front. Axes are any that include ``key``.
        title: Of the page; left out, the text.
        query: The token whose row is shown first, by position or text; left out, the first one, or the last where no
            token draws from a later one.
        over: The image or the sound that was explained; it travels in the document, at most 640 pixels large, or
            as an outline of its wave and, up to a minute, to be heard.
        bits: 8 or 16 per number. Left out, 16 where all maps together hold at most 400,000 numbers, and 8 in coarser
            steps above 4,000,000. The document says the largest error of each map.

    Returns:
        JSON values; `contextmix.views.page.report` writes them into a page.

    Raises:
        BadInput: If the maps are of different inputs, or the image or sound is not the one that was explained.
        WrongShape: If a map has no key axis.
        UnknownToken: If there is no such query.
        BadOption: If there is no map, or an image was given for a text.

    Example:
        >>> from contextmix.results.provenance import Provenance
        >>> one = TokenMap(
        ...     [[1.0, 0.0], [0.0, 1.0]], ("query", "key"), Tokens(("a", "b")), "share", Provenance("example")
        ... )
        >>> result = exhibit({"example": one})
        >>> result["keys"]["pieces"], result["start"], result["maps"][0]["data"]["bits"]
        (['a', 'b'], {'map': 0, 'layer': None, 'query': 1}, 16)
    """
    if bits is not None and whole_number(bits) not in (8, 16):
        raise BadOption(f"bits={bits!r:.80} is how a number is kept in a page: 8, 16, or None for as many as fit.")
    shown = {name: one if isinstance(one, Shown) else Shown(one) for name, one in maps.items()}
    found = [one.token_map for one in shown.values()]
    _refuse_maps(shown)
    keys, queries = found[0].tokens, _queries(shown)
    count = sum(one.values.size for one in found)
    fineness: tuple[Bits, int] = (bits, 1) if bits else (16, 1) if count <= FEW else (8, 3 if count > MANY else 1)
    notes = [one.provenance.notes for one in found]
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": printable(title or (keys.text if keys.places is None else "") or named(keys)),
        "model": _line(
            " and ".join(map(model_name, dict.fromkeys(filter(None, (one.provenance.model for one in found)))))
        ),
        "prediction": next((_prediction(each["prediction"]) for each in notes if each.get("prediction")), None),
        "target": _target(shown),
        "steps": _steps(notes, queries),
        "keys": axis(keys),
        "queries": None if queries is None or axis(queries) == axis(keys) else axis(queries),
        "start": _start(found, queries or keys, query),
        "media": media(keys, over),
        "maps": [_map(name, one, fineness) for name, one in shown.items()],
    }


def _map(name: str, one: Shown, fineness: tuple[Bits, int]) -> dict[str, Any]:
    found, made = one.token_map, one.token_map.provenance
    signed = found.quantity is Quantity.SIGNED or bool(found.values.min() < 0)
    paper, asked = paper_of(name), _asks(name, found)
    aggregated, of_model = made.aggregation is not None, not {"layer"} & {*found.dims, *found.selected}
    return {
        "name": printable(name),
        "label": printable(title_of(name)),
        "title": printable(made.title),
        "formula": _line(one.formula),
        "paper": _line(one.paper or ("" if paper is None else paper.short)),
        "link": "" if paper is None else paper.url,
        "asks": asked,
        "question": _question(asked, found),
        "quantity": str(found.quantity),
        "meaning": found.quantity.meaning,
        "unit": found.quantity.unit,
        "signed": signed,
        "cumulative": aggregated or of_model,
        "dims": list(found.dims),
        "shape": list(found.shape),
        "layers": list(found.layers) if "layer" in found.dims else None,
        "targets": None if found.targets is None else list(map(printable, found.targets)),
        "selected": dict(found.selected),
        "facts": [list(fact) for fact in facts(made)],
        "data": encoded(found.values, signed, *fineness),
    }


def _asks(name: str, found: TokenMap) -> str:
    """What a map tells; of a method that is not known here, by its axes."""
    of_output = "query" not in {*found.dims, *found.selected}
    return asks(name) if paper_of(name) is not None else "score" if of_output else "vector"


def _question(asked: str, found: TokenMap) -> str:
    """The same as a question, with the kind of output where that is known."""
    said = found.provenance.notes.get("prediction") or {}
    classes = found.targets is not None or (said and not {"after", "at"} & said.keys())
    return QUESTIONS[asked].replace("output", "class" if classes else "word" if said else "output")


def _refuse_maps(shown: Mapping[str, Shown]) -> None:
    if not shown:
        raise BadOption("There is no map to show. Give at least one.")
    first, *others = shown
    tokens = shown[first].token_map.tokens
    for name, one in shown.items():
        if "key" not in one.token_map.dims:
            raise WrongShape(
                f"The explorer shows what tokens draw from, and {name} has no key axis: {one.token_map.dims}. Read its "
                "numbers with map.values or map.to_dataframe()."
            )
    for name in others:
        if axis(shown[name].token_map.tokens) != axis(tokens):
            raise BadInput(
                f"{first} and {name} are maps of different inputs: {_begins(tokens)} and "
                f"{_begins(shown[name].token_map.tokens)}. Side by side, their columns would be taken for the same "
                "tokens. Show them apart."
            )


def _queries(shown: Mapping[str, Shown]) -> Tokens | None:
    """The tokens that receive, which maps with rows must share; a map of one score has none."""
    found = {n: one.token_map for n, one in shown.items() if {"query"} & {*one.token_map.dims, *one.token_map.selected}}
    names = list(found)
    for name in names[1:]:
        if axis(found[name].query_tokens) != axis(found[names[0]].query_tokens):
            raise BadInput(
                f"{names[0]} and {name} have rows of different tokens: {_begins(found[names[0]].query_tokens)} and "
                f"{_begins(found[name].query_tokens)}. Show them apart."
            )
    return found[names[0]].query_tokens if names else None


def _target(shown: Mapping[str, Shown]) -> dict[str, Any] | None:
    """The output that methods of the whole model explain."""
    found: dict[str, tuple[str, str | None]] = {}
    for name, one in shown.items():
        notes = one.token_map.provenance.notes
        if "target" in notes and "target" not in one.token_map.dims:
            found[name] = (str(notes["target"]), notes.get("foil"))
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{name} “{target}”" for name, (target, _) in found.items())
        raise BadInput(f"The maps explain different outputs: {listed}. The page could not name one: show them apart.")
    if not found:
        return None
    label, foil = next(iter(found.values()))
    return {"label": printable(label), "foil": None if foil is None else printable(str(foil))}


def _prediction(said: Mapping[str, Any]) -> dict[str, Any]:
    where = {word: printable(str(said[word])) for word in ("after", "at") if word in said}
    return {"label": printable(str(said["label"])), "probability": float(said["probability"]), **where}


def _steps(notes: Sequence[Mapping[str, Any]], queries: Tokens | None) -> dict[str, Any] | None:
    """Of a text that a model wrote: how likely it was to write each new token."""
    said: Mapping[str, Any] = next((each["generation"] for each in notes if each.get("generation")), {})
    found = said.get("probabilities") or []
    return (
        {"probabilities": [float(one) for one in found]} if queries is not None and len(found) == len(queries) else None
    )


def _start(found: Sequence[TokenMap], queries: Tokens, query: int | str | None) -> dict[str, Any]:
    first, with_rows = found[0], [one for one in found if "query" in one.dims]
    place = usual_query((with_rows or found)[0])[0] if query is None else queries.position(query)
    layer = first.layers[-1] if "layer" in first.dims else first.selected.get("layer")
    return {"map": 0, "layer": layer, "query": place, **_beside(found)}


def _beside(found: Sequence[TokenMap]) -> dict[str, int]:
    """Beside what speaks for and against an output, the first map of what a vector is made of."""
    first, *others = found
    if first.quantity is not Quantity.SIGNED or "query" in {*first.dims, *first.selected}:
        return {}
    return next(({"beside": number} for number, one in enumerate(others, 1) if "query" in one.dims), {})


def _line(text: str) -> str:
    return printable(text) if text else ""


def _begins(tokens: Tokens) -> str:
    listed: Sequence[str] = [printable(piece) for piece in tokens.pieces[:6]]
    return f"{len(tokens)} tokens, {' '.join(listed)}{' …' if len(tokens) > 6 else ''}"
