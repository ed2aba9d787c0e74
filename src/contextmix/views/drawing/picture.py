"""What of a map fits on a flat page, and the words that go with it: decided once, drawn by each view."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from contextmix.errors import WrongShape, refuse_kind
from contextmix.results.exploration import usual_query
from contextmix.results.token_map import Quantity, TokenMap
from contextmix.tokens.pieces import Tokens, printable
from contextmix.tokens.places import Frames, Patches, where
from contextmix.tokens.regions import Regions
from contextmix.views.drawing.colours import Array, scaled
from contextmix.views.drawing.facts import model_name
from contextmix.views.drawing.rows import draws, place_of, who

Kind = Literal["line", "patches", "frames", "grid", "steps", "layers"]

GROWN = 1e6
"""Lengths from here on are shown as shares: no reader compares 2.1e+78 with 7.7e+77."""
STEPS_LIMIT = 1 << 14
"""Most numbers of a table whose queries are other tokens than its keys; of a larger one, one row is shown."""


@dataclass(frozen=True)
class Picture:
    """A table of numbers ready to be drawn.

    Attributes:
        kind: ``line`` (one row of a text), ``patches`` (of an image), ``frames`` (of a sound), ``grid`` (query, key),
            ``steps`` (the same, row by row, where queries are other tokens than keys), or ``layers`` (one row per
            layer, the last on top).
        values: The numbers, (row, key).
        scores: The same, divided for colouring, in [-1, 1].
        numbers: The same, as text.
        rows: Label of each row, printable.
        keys: The tokens of the columns.
        signed: Whether numbers have signs.
        about: Sentences: method, quantity, and what the rows are.
        scaling: How scores are made of numbers.
        cautions: Sentences that a reader must see.
    """

    kind: Kind
    values: Array
    scores: Array
    numbers: tuple[tuple[str, ...], ...]
    rows: tuple[str, ...]
    keys: Tokens
    signed: bool
    about: tuple[str, ...]
    scaling: str
    cautions: tuple[str, ...] = ()

    @property
    def caption(self) -> tuple[str, ...]:
        """Everything that stands below a picture with colours."""
        return (*self.about, self.said_of("Colours", "red adds, blue removes"), *self.cautions)

    def said_of(self, what: str, signs: str) -> str:
        """How scores are scaled, and what their signs are, in a sentence about what stands for them."""
        empty = "" if self.values.any() else " All values are 0."
        return f"{what}: {self.scaling}{f'; {signs}' if self.signed else ''}.{empty}"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Label of each column, printable; made once, as a page asks for it in each of its cells."""
        return tuple(map(printable, self.keys.pieces))


def picture(token_map: TokenMap, query: int | str | None = None, limit: int = 25) -> Picture:
    """Choose what to draw.

    One row is a line (for an image or a sound: its patches or frames), (query, key) a grid (or steps, where queries are
    not the keys), and with layers it is one row per layer for one query. A query that is not given but needed is the
    first token, or the last where no token draws from a later one (there the first sees only itself). Of an image or a
    sound it is always needed: a table of its tokens would show no place.

    Args:
        token_map: A map with the axes key, (query, key), (layer, key) or (layer, query, key).
        query: The token whose row to draw, by position or text.
        limit: Most rows or columns of a grid; a larger one becomes the line of one query.

    Raises:
        WrongShape: If the map has other axes.
        UnknownToken: If there is no such query.
        AmbiguousToken: If the text of the query occurs more than once.

    Example:
        >>> from contextmix.results.provenance import Provenance
        >>> result = TokenMap(np.eye(2), ("query", "key"), Tokens(("a", "b")), "share", Provenance("example"))
        >>> picture(result).kind, picture(result, query="b").kind
        ('grid', 'line')
    """
    _refuse_other_axes(token_map)
    token_map = _readable(token_map)
    if query is None and _of_steps(token_map):
        return _steps(token_map)
    of_text = token_map.tokens.places is None
    if query is None and token_map.dims == ("query", "key") and of_text and max(token_map.shape) <= limit:
        return _grid(token_map)
    reason = ""
    if query is None and "query" in token_map.dims:
        query, reason = _default_query(token_map)
    row = token_map if query is None else token_map.row(query)
    return _layers(row, reason) if "layer" in row.dims else _line(row, reason)


def _readable(token_map: TokenMap) -> TokenMap:
    """Lengths whose product over layers has grown beyond reading (1e78), as shares of their rows."""
    grown = token_map.quantity is Quantity.NORM and float(token_map.values.max(initial=0)) >= GROWN
    return token_map.as_share() if grown else token_map


def whole(token_map: TokenMap) -> Picture:
    """All rows of a map with the axes (query, key), whatever its size and whatever its tokens are.

    Args:
        token_map: The map.

    Raises:
        WrongShape: If it has other axes.
    """
    _refuse_other_axes(token_map)
    return _grid(_readable(token_map))


def number_texts(values: Array, digits: int = 2) -> tuple[str, ...]:
    """Numbers as text with one count of decimals, so that they line up.

    Args:
        values: The numbers of one row or table.
        digits: Significant digits of the largest.

    Example:
        >>> number_texts(np.array([0.512, 0.0301])), number_texts(np.array([120.0, -3.2]))
        (('0.51', '0.03'), ('120', '-3'))
    """
    largest = float(np.abs(values).max())
    exponent = math.floor(math.log10(largest)) if largest else 0
    if not -4 < exponent < 6:
        return tuple(f"{value:.{digits - 1}e}" for value in values.flat)
    decimals = max(digits - 1 - exponent, digits if largest <= 1 else 0)
    return tuple(f"{value:z.{decimals}f}" for value in values.flat)


def _refuse_other_axes(token_map: TokenMap) -> None:
    refuse_kind("A picture: token_map", token_map, TokenMap)
    for axis in ("head", "target"):
        if axis in token_map.dims:
            raise WrongShape(
                f"A picture has two dimensions, but this map has {' × '.join(token_map.dims)}. Choose one {axis} "
                f"first, for "
                f"example map.{axis}(0).show()."
            )
    if "key" not in token_map.dims:
        raise WrongShape(
            f"A picture shows what tokens draw from, and this map has no key axis: {token_map.dims}. "
            "Read its numbers with map.values or map.to_dataframe()."
        )


def _default_query(token_map: TokenMap) -> tuple[int, str]:
    position, causal = usual_query(token_map)
    cause = ", as no token draws from a later one" if causal else ""
    which = "last" if position else "first"
    return position, f" No query was chosen, so this is the {which} token{cause}. Choose another with query=…"


def _line(row: TokenMap, reason: str) -> Picture:
    texts = number_texts(row.values, digits=3)
    kind, named = _kind(row)
    what = draws(row, reason) + named
    scores, scaling = scaled(row.values), f"divided by the largest ({_largest(row.values)})"
    placed = row.values[~_beside(row.tokens)]
    beyond = np.abs(row.values).max() > np.abs(placed).max(initial=0) > 0
    if beyond or (kind != "line" and np.abs(placed).max(initial=0) > 0):
        # A special token, such as the one that a text begins with, may hold far more than any other: then no word and
        # no patch could be told from another.
        scores = (row.values / np.abs(placed).max()).clip(-1, 1)
        which = "words" if kind == "line" else kind
        both = isinstance(row.tokens.places, Regions)
        scaling = f"divided by the largest of the {'image places' if both else which} ({_largest(placed)})"
        scaling += f"; {'words' if both else 'special tokens'} may exceed it" if beyond else ""
    return _picture(kind, row, row.values[None], scores[None], [texts], [who(row)], what, scaling)


def _beside(tokens: Tokens) -> Array:
    """Tokens that may hold far more than those that are drawn: special ones; beside images those of the text."""
    if isinstance(tokens.places, Regions):
        return np.array([place is None for place in where(tokens.places)])
    return np.array(tokens.special)


def _kind(row: TokenMap) -> tuple[Kind, str]:
    """How one row is drawn, and a sentence on how its tokens are named."""
    places = row.tokens.places
    if isinstance(places, Patches):
        return "patches", " Patches are named by row and column from the top left: r0c0."
    if isinstance(places, Regions):
        return "patches", " Image places are named by row and column from the top left: r0c0; the words are listed."
    if not isinstance(places, Frames):
        return "line", ""
    added = [places.is_added(position) for position in range(len(places))]
    total = float(np.abs(row.values).sum())
    share = float(np.abs(row.values[added]).sum()) / total if total else 0.0
    silence = f" {sum(added)} frames, with {share:.0%} of the total, lie behind the sound: the processor added silence."
    return "frames", " Frames are named by their time." + (silence if any(added) else "")


def _grid(token_map: TokenMap) -> Picture:
    values = token_map.values
    texts = np.array(number_texts(values), dtype=object).reshape(values.shape)
    rows = map(printable, token_map.query_tokens.pieces)
    scaling = f"divided by the largest of the table ({_largest(values)})"
    what = f"Rows receive, columns are what they draw from{place_of(token_map)}."
    return _picture("grid", token_map, values, scaled(values), texts, rows, what, scaling)


def _of_steps(token_map: TokenMap) -> bool:
    others = token_map.dims == ("query", "key") and token_map.query_tokens != token_map.tokens
    return others and token_map.values.size <= STEPS_LIMIT


def _steps(token_map: TokenMap) -> Picture:
    texts = [number_texts(each) for each in token_map.values]
    rows = map(printable, token_map.query_tokens.pieces)
    what = f"Rows receive, columns are what they draw from{place_of(token_map)}."
    scores = scaled(token_map.values, axis=1)
    return _picture("steps", token_map, token_map.values, scores, texts, rows, what, "each row divided by its largest")


def _layers(row: TokenMap, reason: str) -> Picture:
    values = row.values[::-1]
    rows = [f"layer {layer}" for layer in reversed(row.layers)]
    texts = [number_texts(each) for each in values]
    what = draws(row, reason) + " One row per layer, the last on top."
    return _picture("layers", row, values, scaled(values, axis=1), texts, rows, what, "each row divided by its largest")


def _picture(
    kind: Kind,
    source: TokenMap,
    values: Array,
    scores: Array,
    numbers: Iterable[Iterable[str]],
    rows: Iterable[str],
    what: str,
    scaling: str,
) -> Picture:
    signed = source.quantity is Quantity.SIGNED or bool(values.min() < 0)
    made, quantity = source.provenance, source.quantity
    unit = f", in {quantity.unit}" if quantity.unit != "1" else ""
    about = (
        f"{made.title} · {quantity}: {quantity.meaning}{unit}{f' · {model_name(made.model)}' if made.model else ''}",
        what,
    )
    cautions = (f"Caution: {made.caution}",) if made.caution else ()
    texts = tuple(tuple(row) for row in numbers)
    words = (tuple(map(_safe, about)), scaling, tuple(map(_safe, cautions)))
    return Picture(kind, values, scores, texts, tuple(rows), source.tokens, signed, *words)


def _safe(sentence: str) -> str:
    """Names of models and methods are data too."""
    return printable(sentence)


def _largest(values: Array) -> str:
    return f"{float(np.abs(values).max()):.3g}"
