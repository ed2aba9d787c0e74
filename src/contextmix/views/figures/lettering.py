"""Letters of figures: tokens and names as labels that can be read, are never formulas, and lack no sign."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from contextmix.tokens.pieces import printable
from contextmix.views.figures.canvas import FALLBACK, pyplot
from contextmix.views.figures.latex import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 18
_SMALLEST = 4.5  # points; below this nobody reads a label, so some are left out


def label(text: str, longest: int = _LONGEST) -> str:
    """A token or a name as a label: printable, not too long, and only with signs that the fonts in use have.

    A sign that no font has would be an empty box; its code point is written instead, such as ``⟨U+4E2D⟩``. To see the
    sign itself, name a font that has it: ``plt.rcParams["font.family"] = ["DejaVu Sans", "Noto Sans CJK JP"]``.

    Args:
        text: Any text.
        longest: Longer ones are cut, in characters.
    """
    known = _signs(families(), pyplot().rcParams["font.size"])
    shown = ""
    for sign in printable(text):
        drawn = sign if ord(sign) in known else f"⟨U+{_code(sign):04X}⟩"
        if len(shown) + len(drawn) > longest:
            shown += "…"
            break
        shown += drawn
    return escape(shown) if pyplot().rcParams["text.usetex"] else shown


def _code(sign: str) -> int:
    """The code point that a sign stands for: ␛ is drawn for the control character 001B."""
    return ord(sign) - 0x2400 if "\u2400" <= sign < "\u2421" else ord(sign)


def families() -> tuple[str, ...]:
    """The fonts in use, and last the one that comes with matplotlib."""
    return tuple(dict.fromkeys([*pyplot().rcParams["font.family"], FALLBACK]))


@lru_cache(maxsize=16)
def _signs(names: tuple[str, ...], size: float) -> frozenset[int]:
    """Code points that these fonts have, together."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    paths = {findfont(FontProperties(family=[name], size=size)) for name in names}
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


def ticks(axes: Axes, side: Literal["x", "y"], names: Sequence[str], inches: float, *, upright: bool = False) -> None:
    """Write tokens or names along an axis, never as formulas, and no smaller than can be read.

    Where there are more than find room, letters shrink first; then only every second, third … one is written.

    Args:
        axes: Where the places 0, 1, 2 … have these names.
        side: Along which axis.
        names: In order.
        inches: About how long the axis is.
        upright: Whether names along the horizontal axis stand horizontally; else they stand on end.
    """
    each = 72 * max(inches, 0.2) / max(1, len(names))
    size = max(_SMALLEST, min(_points(f"{side}tick.labelsize"), each / 1.15))
    step = max(1, -int(-size // each))
    places = range(0, len(names), step)
    write = axes.set_xticks if side == "x" else axes.set_yticks
    options: dict[str, Any] = {} if side == "y" or upright else {"rotation": 90}
    texts = [label(names[position]) for position in places]
    write(list(places), texts, fontsize=size, fontfamily=families(), parse_math=False, **options)
    axes.tick_params(axis=side, length=0 if step == 1 else 2)


def _points(setting: str) -> float:
    """The size of letters, which settings may also name, such as ``"medium"``."""
    size = pyplot().rcParams[setting]  # first: it says kindly where matplotlib is missing
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size=size).get_size_in_points())


def say(axes: Axes, *, title: str | None = None, xlabel: str | None = None, ylabel: str | None = None) -> None:
    """Title and names of the axes, in fonts that have their signs, never as formulas."""
    options: dict[str, Any] = {"fontfamily": families(), "parse_math": False}
    for write, text in ((axes.set_title, title), (axes.set_xlabel, xlabel), (axes.set_ylabel, ylabel)):
        if text:
            write(label(text, 90), **options)


def say_beside(scale: Any, text: str, inches: float) -> None:
    """What the numbers of a colour scale are, in as many lines as its height needs.

    Args:
        scale: The colour bar.
        text: What to write.
        inches: The height of the scale.
    """
    letters = max(12, int(inches / (0.6 * _points("axes.labelsize") / 72)))
    lines = textwrap.fill(label(text, 90), letters)
    scale.outline.set_visible(False)
    scale.ax.set_ylabel(lines, fontfamily=families(), parse_math=False)


def line() -> float:
    """Inches that a line of labels takes."""
    return 1.15 * _points("font.size") / 72


def room_for(names: Sequence[str]) -> float:
    """Inches that the longest of these names takes."""
    return 0.5 * line() * max((len(label(name)) for name in names), default=0)
