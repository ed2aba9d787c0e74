"""Maps as a fragment of HTML for notebooks and pages: no script, no network, every token escaped."""

from __future__ import annotations

import html
import importlib
import sys
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from contextmix.errors import ContextMixError
from contextmix.results.token_map import TokenMap
from contextmix.views.drawing.colours import background, foreground
from contextmix.views.drawing.facts import facts
from contextmix.views.drawing.picture import Picture, picture
from contextmix.views.drawing.running_text import spelled
from contextmix.views.drawing.scene import elsewhere, refuse_no_place, strongest
from contextmix.views.page.vector import drawing

GRID_LIMIT = 64
"""Most tokens that are shown as a table of queries and keys."""
NUMBERS_LIMIT = 16
"""Most columns of a table whose cells carry their numbers; in larger ones they appear under the pointer."""
PLACED_LIMIT = 40
"""Most patches or frames whose numbers are listed: the strongest."""


def to_html(token_map: TokenMap, query: int | str | None = None, over: Any = None) -> str:
    """Draw a map as HTML that stands alone.

    Colours follow the page's ``color-scheme``, light or dark, and browsers that do not know it get the light ones.

    Args:
        token_map: A map with the axes key, (query, key), (layer, key) or (layer, query, key).
        query: The token whose row to draw, by position or text. Left out: a table up to 64 tokens, else one row.
        over: The image or the sound that was explained, to be drawn below the map and to travel in the page.

    Returns:
        One ``<figure>`` element.

    Raises:
        WrongShape: If the map has other axes.
        UnknownToken: If there is no such query.
        AmbiguousToken: If the text of the query occurs more than once.
        BadInput: If the image or the sound is not the one that was explained.
        BadOption: If one is given and the tokens have no place in it.

    Example:
        >>> from contextmix.results.provenance import Provenance
        >>> from contextmix.tokens.pieces import Tokens
        >>> result = TokenMap([0.25, 0.75], ("key",), Tokens(("<b>", "film")), "share", Provenance("example"))
        >>> "<b>" in to_html(result), "&lt;b&gt;" in to_html(result)
        (False, True)
    """
    drawn = picture(token_map, query, GRID_LIMIT)
    if over is not None:
        refuse_no_place(drawn)
    paints = [[painted(score, drawn.signed) for score in row.round(3).tolist()] for row in drawn.scores]
    template = templates().get_template("tokenmap.html.j2")
    return template.render(
        drawn=drawn,
        paints=paints,
        drawing=drawing(drawn, over),
        listed=_listed(drawn),
        elsewhere=elsewhere(drawn),
        spelled=spelled(drawn.keys),
        numbers_fit=len(drawn.columns) <= NUMBERS_LIMIT,
        facts=facts(token_map.provenance),
    )


def preview(token_map: TokenMap, over: Any = None) -> str:
    """HTML for the last line of a notebook cell: the picture, or a sentence where none can be drawn.

    Args:
        token_map: Any map.
        over: See `to_html`.
    """
    try:
        return to_html(token_map, over=over)
    except ContextMixError as reason:
        return f"<p><code>{html.escape(repr(token_map))}</code><br>{html.escape(str(reason))}</p>"


def show(token_map: TokenMap, query: int | str | None = None, over: Any = None) -> None:
    """Display a map in the running notebook.

    Args:
        token_map: See `to_html`.
        query: See `to_html`.
        over: See `to_html`.
    """
    display = importlib.import_module("IPython.display")
    display.display(display.HTML(to_html(token_map, query, over)))


def is_running() -> bool:
    """Whether this process answers to a notebook (a terminal with IPython is none)."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@lru_cache(maxsize=4096)
def painted(score: float, signed: bool) -> Markup:
    """The colours of a cell, for light and dark pages."""
    light, dark = (background(score, signed, theme) for theme in ("light", "dark"))
    ink, dark_ink = foreground(light), foreground(dark)
    style = f"background:{light};color:{ink};background:light-dark({light},{dark});color:light-dark({ink},{dark_ink})"
    return Markup(style)


def _listed(drawn: Picture) -> list[int]:
    """The tokens whose numbers are written below the picture; none below a table, which holds them."""
    if drawn.kind == "line":
        return list(range(len(drawn.columns)))
    if drawn.kind in ("grid", "steps", "layers"):
        return []
    return sorted({*strongest(drawn, PLACED_LIMIT), *elsewhere(drawn)})


@lru_cache(maxsize=1)
def templates() -> Environment:
    """What pages are made of; every text that is put in is escaped."""
    loader = PackageLoader("contextmix", "views/page/templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
