"""Several maps side by side: the layers or heads of one, or several methods on one text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from contextmix.errors import BadOption, WrongShape, refuse_kind, refuse_named
from contextmix.results.token_map import TokenMap
from contextmix.views.drawing.colours import Array, scaled
from contextmix.views.drawing.picture import Picture, picture, whole
from contextmix.views.figures.canvas import pyplot
from contextmix.views.figures.lettering import line, room_for, say
from contextmix.views.figures.maps import row_names
from contextmix.views.figures.marks import heat, scale_beside

_WHOLE = 1 << 30


def grid(
    maps: TokenMap | Mapping[str, TokenMap],
    query: int | str | None = None,
    *,
    scale: Literal["same", "each"] | None = None,
    across: int | None = None,
) -> Array:
    """Several maps side by side: the layers or the heads of one, or several methods on one text.

    Args:
        maps: One map with the axes (layer, query, key) or (head, query, key): one panel per layer or head, tokens ×
            tokens. Or name → map, all with the same tokens: one panel per name, over layers where it has them.
        query: For maps over layers: the token, by position or text.
        scale: Divide all panels by the ``"same"`` number, the largest of all, or ``"each"`` by its own (panels over
            layers: each layer by its own). Left out: the same for one map, each for several.
        across: Panels in a line.

    Returns:
        The axes, (panel,).

    Raises:
        WrongShape: If maps have other axes, or other tokens than each other.
        BadOption: If there are no maps.
        UnknownToken: If there is no such query.

    Example:
        >>> import contextmix as cm
        >>> model = cm.load("demo")
        >>> result = {name: model.explain("a good film", name) for name in ("globenc", "attention_rollout")}
        >>> [axes.get_title() for axes in cm.plots.grid(result)]
        ['globenc', 'attention_rollout']
    """
    if not (scale is None or (isinstance(scale, str) and scale in ("same", "each"))):
        raise BadOption(f"scale={scale!r} is not known. Known: 'same', 'each'.")
    refuse_kind("grid: maps", maps, TokenMap, Mapping)
    named = _parts(maps) if isinstance(maps, TokenMap) else dict(maps)
    refuse_named("grid: maps", named, TokenMap)
    drawn = {name: _picture(one, query) for name, one in named.items()}
    _refuse_others(drawn)
    same = isinstance(maps, TokenMap) if scale is None else scale == "same"
    if same and len({(one.signed, named[name].quantity) for name, one in drawn.items()}) > 1:
        raise BadOption("Numbers of different kinds have no common scale. Leave out scale, or use scale='each'.")
    canvas, panels = _empty(drawn, across)
    top = max(float(np.abs(one.values).max()) for one in drawn.values()) or 1.0
    for axes, (name, one) in zip(panels, drawn.items(), strict=True):
        values = one.values if same else scaled(one.values, axis=1 if one.kind == "layers" else None)
        heat(axes, values, row_names(one), one.columns, signed=one.signed, limit=top if same else 1.0, bar=None)
        say(axes, title=str(name))
    _name_axes(panels, next(iter(drawn.values())).kind)
    quantity = next(iter(named.values())).quantity
    each = "each layer" if next(iter(drawn.values())).kind == "layers" else "each panel"
    scale_beside(canvas, panels, f"{quantity}, the same scale" if same else f"{each} ÷ its largest")
    return panels


def _parts(whole: TokenMap) -> dict[str, TokenMap]:
    """Layers or heads, by their names."""
    axis = whole.dims[0] if len(whole.dims) == 3 else ""
    if whole.dims[1:] != ("query", "key") or axis not in ("layer", "head", "target"):
        raise WrongShape(
            f"A grid shows the layers or the heads of one map, and this one has {' × '.join(whole.dims)}. Choose on "
            "the other axes first, for example map.layer(-1) to see its heads, or name several maps: grid({'a': …})."
        )
    if axis == "target":
        return {name: whole.target(place) for place, name in enumerate(whole.targets or ())}
    numbers = whole.layers if axis == "layer" else range(whole.shape[0])
    return {f"{axis} {number}": getattr(whole, axis)(number) for number in numbers}


def _picture(one: TokenMap, query: int | str | None) -> Picture:
    if one.dims == ("query", "key") and query is None:
        return whole(one)
    if one.dims in (("layer", "query", "key"), ("layer", "key")):
        return picture(one, query, _WHOLE)
    raise WrongShape(
        f"A panel of a grid is tokens × tokens or layers × tokens, and this map has {' × '.join(one.dims)}. Draw rows "
        "with contextmix.plots.bars(row)."
    )


def _refuse_others(drawn: Mapping[str, Picture]) -> None:
    if not drawn:
        raise BadOption("The grid has no maps. Name at least one.")
    (name, first), *rest = drawn.items()
    for other, one in rest:
        if (one.kind, one.columns, one.values.shape) != (first.kind, first.columns, first.values.shape):
            raise WrongShape(
                f"Panels of a grid share their axes, and {other!r} is {one.kind} of {one.values.shape} with other "
                f"tokens or axes than {name!r}, {first.kind} of {first.values.shape}. Draw them one by one."
            )


def _empty(drawn: Mapping[str, Picture], across: int | None) -> tuple[object, Array]:
    """A figure with one place per panel, as wide as the settings say."""
    plot, first = pyplot(), next(iter(drawn.values()))
    width, count = plot.rcParams["figure.figsize"][0], len(drawn)
    refuse_kind("grid: across", across, int, type(None))
    columns = min(count, max(1, round(width / 1.55)) if across is None else across)
    if columns < 1:
        raise BadOption(f"across={across!r} leaves no room. At least one panel stands in a line.")
    down, each = -(-count // columns), width / columns
    height = 2 * line() + (max(0.6, 0.8 * line() * len(first.rows)) if first.kind == "layers" else 0.8 * each)
    canvas, grid = plot.subplots(
        down,
        columns,
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
        figsize=(width, min(3.0 * width, down * height + room_for(first.columns) + 2 * line())),
    )
    for axes in grid.flat[count:]:
        axes.remove()
    return canvas, grid.flatten()[:count]


def _name_axes(panels: Array, kind: str) -> None:
    for axes in panels:
        place = axes.get_subplotspec()
        if place.is_first_col():
            say(axes, ylabel="layer" if kind == "layers" else "receives")
        below = place.num1 + place.get_gridspec().ncols
        last = below >= len(panels)
        axes.tick_params(axis="x", labelbottom=last)
        if last:
            say(axes, xlabel="" if kind == "layers" else "draws from")
