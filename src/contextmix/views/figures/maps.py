"""Figures of one map: a query over layers, tokens × tokens, bars of one row, patches of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from contextmix.errors import BadOption, WrongShape, refuse_kind
from contextmix.maths.whole import index_of
from contextmix.results.exploration import usual_query
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import printable
from contextmix.tokens.places import Patches
from contextmix.tokens.regions import Regions
from contextmix.views.drawing.colours import Array, background, scaled
from contextmix.views.drawing.picture import Picture, picture, whole
from contextmix.views.drawing.scene import strongest
from contextmix.views.drawing.side_by_side import on_canvas, raster
from contextmix.views.figures.canvas import axes_or_new, extent, pyplot
from contextmix.views.figures.lettering import line, room_for, say, ticks
from contextmix.views.figures.marks import heat

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scale = Literal["row", "map", "none"]

BARS = 40
"""Most bars: of more tokens, the strongest."""
_WHOLE = 1 << 30  # a map of any size is drawn as it is
_FINE = 240
"""Most columns of the images of a prompt in a figure."""
_SAID = {"row": ", each {row} ÷ its largest", "map": ", ÷ the largest of the map", "none": ""}


def plot(token_map: TokenMap, query: int | str | None = None, *, ax: Axes | None = None, **options: Any) -> Axes:
    """The figure that fits the axes of a map: see `bars`, `tokens`, `layers` and `patches`.

    Args:
        token_map: A map with the axes key, (query, key), (layer, key) or (layer, query, key).
        query: The token whose row to draw, by position or text.
        ax: Where to draw; left out, on a new figure.
        options: Of the function that draws it.

    Raises:
        WrongShape: If the map has other axes.
        BadOption: If matplotlib is missing, or the figure has no such option.
        UnknownToken: If there is no such query.
        AmbiguousToken: If the text of the query occurs more than once.
    """
    kind = picture(token_map, query, _WHOLE).kind
    if kind == "layers":
        return layers(token_map, query, ax=ax, **options)
    if kind in ("grid", "steps"):
        return tokens(token_map, ax=ax, **options)
    row = token_map
    if "query" in token_map.dims:
        row = token_map.row(usual_query(token_map)[0] if query is None else query)
    return (patches if kind == "patches" else bars)(row, ax=ax, **options)


def layers(
    token_map: TokenMap, query: int | str | None = None, *, scale: Scale = "row", ax: Axes | None = None
) -> Axes:
    """What one token draws from each token, layer by layer, the last on top: figure 1 of GlobEnc and its like.

    Args:
        token_map: A map with the axes (layer, query, key) or (layer, key).
        query: The token, by position or text; left out, the one that every view shows.
        scale: Divide each ``"row"`` (layer) by its largest number, the whole ``"map"``, or ``"none"``.
        ax: Where to draw; left out, on a new figure.

    Raises:
        WrongShape: If the map has no layers, or other axes.
        UnknownToken: If there is no such query.
        AmbiguousToken: If the text of the query occurs more than once.

    Example:
        >>> import contextmix as cm
        >>> axes = cm.plots.layers(cm.load("demo").explain("a good film", layers="all"), "[CLS]")
        >>> [tick.get_text() for tick in axes.get_xticklabels()]
        ['[CLS]', 'a', 'good', 'film', '[SEP]']
    """
    drawn = picture(token_map, query, _WHOLE)
    if drawn.kind != "layers":
        raise WrongShape(
            f"A figure over layers needs the axes (layer, query, key) or (layer, key), and this map has "
            f"{token_map.dims}. Ask for all layers: model.explain(text, method, layers='all')."
        )
    axes = axes_or_new(ax, 2.5 * line() + max(0.9, line() * len(drawn.rows)) + room_for(drawn.columns))
    matrix(axes, drawn, token_map, scale, row="layer")
    say(axes, ylabel="layer", title=title_of(token_map, query))
    return axes


def tokens(token_map: TokenMap, *, scale: Scale = "map", ax: Axes | None = None) -> Axes:
    """All tokens that receive (rows) against all that they draw from (columns).

    Args:
        token_map: A map with the axes (query, key).
        scale: Divide each ``"row"`` by its largest number, the whole ``"map"``, or ``"none"``.
        ax: Where to draw; left out, on a new figure.

    Raises:
        WrongShape: If the map has other axes.

    Example:
        >>> import contextmix as cm
        >>> axes = cm.plots.tokens(cm.load("demo").explain("a good film"))
        >>> axes.get_ylabel(), axes.get_xlabel()
        ('token that receives', 'token it draws from')
    """
    refuse_kind("tokens: token_map", token_map, TokenMap)
    if token_map.dims != ("query", "key"):
        raise WrongShape(
            f"A figure of tokens × tokens needs the axes (query, key), and this map has {token_map.dims}. Choose a "
            "layer, for example map.layer(-1), or draw all of them with contextmix.plots.grid(map)."
        )
    drawn = whole(token_map)
    width = pyplot().rcParams["figure.figsize"][0]
    axes = axes_or_new(
        ax, min(1.4 * width, 0.85 * width * len(drawn.rows) / len(drawn.columns) + room_for(drawn.columns))
    )
    matrix(axes, drawn, token_map, scale, row="row")
    say(axes, ylabel="token that receives", xlabel="token it draws from", title=title_of(token_map))
    return axes


def bars(token_map: TokenMap, *, limit: int = BARS, ax: Axes | None = None) -> Axes:
    """One row as bars, the first token on top; red adds and blue removes where numbers have signs.

    Args:
        token_map: A map with the axis key.
        limit: Most bars; of more tokens the strongest are drawn, in their order, and the axis says so.
        ax: Where to draw; left out, on a new figure.

    Raises:
        WrongShape: If the map has other axes.
        BadOption: If the limit is below one.

    Example:
        >>> import contextmix as cm
        >>> row = cm.load("demo").explain("a good film").row("[CLS]")
        >>> [bar.get_width() for bar in cm.plots.bars(row).patches] == row.values.tolist()
        True
    """
    refuse_kind("bars: token_map", token_map, TokenMap)
    if token_map.dims != ("key",):
        raise WrongShape(
            f"Bars show one row, and this map has {token_map.dims}. Choose one, for example map.row('[CLS]')."
        )
    limit = index_of("bars: limit", limit)
    if limit < 1:
        raise BadOption(f"limit={limit!r} would draw nothing. Ask for at least 1 bar.")
    drawn = picture(token_map)
    shown = strongest(drawn, limit)
    axes = axes_or_new(ax, line() * (4 + len(shown)))
    values = drawn.values[0][shown]
    colours = [background(-0.65 if value < 0 else 0.65, drawn.signed) for value in values]
    axes.barh(range(len(shown)), values, color=colours, height=0.78)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    ticks(axes, "y", [drawn.columns[position] for position in shown], extent(axes)[1] - 4 * line())
    if drawn.signed:
        axes.axvline(0, color="#000000", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    some = f"the {len(shown)} strongest of {len(drawn.columns)} tokens" if len(shown) < len(drawn.columns) else None
    say(axes, xlabel=_unit(token_map), ylabel=some, title=title_of(token_map))
    return axes


def patches(token_map: TokenMap, *, ax: Axes | None = None) -> Axes:
    """The patches of an image in their places, divided by the largest of them; special tokens stand nowhere.

    Args:
        token_map: A map with the axis key, of an image.
        ax: Where to draw; left out, on a new figure.

    Raises:
        WrongShape: If the tokens are no patches, or the map has other axes.
    """
    refuse_kind("patches: token_map", token_map, TokenMap)
    drawn = picture(token_map) if token_map.dims == ("key",) else None
    if drawn is None or drawn.kind != "patches":
        raise WrongShape("Patches are drawn of one row of an image, for example model.explain(image).row('[CLS]').")
    table = _table(drawn)
    rows, columns = table.shape
    axes = axes_or_new(ax, 0.9 * pyplot().rcParams["figure.figsize"][0] * rows / columns)
    heat(axes, table, [], [], signed=drawn.signed, limit=1.0, bar=f"{token_map.quantity}, ÷ the largest of the patches")
    axes.set_aspect("equal")
    say(axes, title=title_of(token_map))
    return axes


def _table(drawn: Picture) -> Array:
    """The scores of patches on their grid, and of images in a prompt on a fine one."""
    places = on_canvas(drawn.keys.places)
    if isinstance(places, Regions):
        width, height = places.sizes[0]
        columns = min(width, _FINE)
        return raster(drawn.scores[0], places, max(1, round(columns * height / width)), columns)
    assert isinstance(places, Patches)
    table = np.full(places.grid, np.nan)
    for position, cell in enumerate(places.cells):
        if cell is not None:
            table[cell] = drawn.scores[0, position]
    return table


def matrix(axes: Axes, drawn: Picture, source: TokenMap, scale: Scale, row: str) -> None:
    """The cells of a picture, divided as asked, with a scale that says how."""
    if scale not in _SAID:
        raise BadOption(f"scale={scale!r} is not known. Known: {', '.join(map(repr, _SAID))}.")
    values = {"row": scaled(drawn.values, axis=1), "map": scaled(drawn.values), "none": drawn.values}[scale]
    limit = 1.0 if scale != "none" else float(np.abs(values).max()) or 1.0
    bar = f"{source.quantity}{_SAID[scale].format(row=row)}" if scale != "none" else _unit(source)
    heat(axes, values, row_names(drawn), drawn.columns, signed=drawn.signed, limit=limit, bar=bar)


def row_names(drawn: Picture) -> list[str]:
    """Labels of the rows; of layers the numbers, as the axis says that they are layers."""
    return [row.removeprefix("layer ") if drawn.kind == "layers" else row for row in drawn.rows]


def title_of(token_map: TokenMap, query: int | str | None = None) -> str:
    """Method, and what was chosen; axes.settitle_of("") removes it where a caption says so."""
    chosen = dict(token_map.selected)
    if query is not None and "query" in token_map.dims:
        chosen["query"] = token_map.query_tokens.position(query)
    made = token_map.provenance
    parts = [str(made.notes.get("recipe", made.title))]
    if "query" in chosen:
        parts.append(printable(token_map.query_tokens.pieces[chosen["query"]]))
    parts += [f"{axis} {chosen[axis]}" for axis in ("layer", "head") if axis in chosen]
    return " · ".join(parts)


def _unit(token_map: TokenMap) -> str:
    unit = token_map.quantity.unit
    return f"{token_map.quantity} ({token_map.quantity.meaning if unit == '1' else unit})"
