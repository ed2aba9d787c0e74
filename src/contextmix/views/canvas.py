"""The paper that figures are drawn on: column widths, fonts, tokens as labels, and files that publishers accept."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from contextmix.errors import BadOption, OutputExists, OutputUnwritable
from contextmix.tokens import printable
from contextmix.views.latex import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = {"single": 3.03, "double": 6.3}
"""Inches of one and of two columns in the style of ACL, EMNLP and NAACL; other venues are close (NeurIPS: 5.5)."""
KINDS = (".pdf", ".svg", ".png")
FALLBACK = "DejaVu Sans"
"""The font that comes with matplotlib: whatever font is in use, signs that it lacks are looked up here."""

_LONGEST = 18
_SMALLEST = 4.5  # points; below this nobody reads a label, so some are left out
_EMBEDDED: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
}  # TrueType: text stays text, and conference checks accept it


@contextmanager
def column(width: Literal["single", "double"] | float = "single", *, serif: bool = False) -> Iterator[None]:
    """Figures made inside fit a column of a paper: their width, letters of 7 and 8 points, thin lines.

    Args:
        width: ``"single"`` (3.03 inches), ``"double"`` (6.3 inches), or inches.
        serif: Letters that go with Times instead of letters without serifs.

    Raises:
        BadOption: For another width, or where matplotlib is missing.

    Example:
        >>> import contextmix as cm
        >>> with cm.plots.column("single"):
        ...     axes = cm.plots.bars(cm.load("demo").explain("a good film").row(0))
        >>> float(axes.figure.get_figwidth())
        3.03
    """
    if isinstance(width, str) and width not in WIDTHS:
        raise BadOption(f"There is no width {width!r}. Known: 'single', 'double', or a number of inches.")
    inches = WIDTHS[width] if isinstance(width, str) else float(width)
    if not 1 <= inches <= 40:
        raise BadOption(f"A figure of {inches:g} inches fits no page. Widths from 1 to 40 inches are drawn.")
    family = ["STIXGeneral", FALLBACK] if serif else [FALLBACK]
    settings = {
        "figure.figsize": (inches, inches * 0.7),
        "figure.dpi": 200,
        "savefig.dpi": 300,
        "font.family": family,
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "axes.linewidth": 0.6,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "legend.fontsize": 7,
        **_EMBEDDED,
    }
    with pyplot().rc_context(settings):
        yield


def save(drawn: Axes | Figure | Any, path: str | Path, *, overwrite: bool = False) -> None:
    """Write the figure of these axes: vectors with embedded fonts (.pdf), vectors (.svg), or dots (.png).

    The same steps give the same file: no date is written.

    Args:
        drawn: Axes, an array of axes as `grid` returns it, or a figure.
        path: Ends in ``.pdf``, ``.svg`` or ``.png``.
        overwrite: Whether a file that exists is replaced.

    Raises:
        OutputExists: If the file exists and ``overwrite`` is not set.
        OutputUnwritable: If it cannot be written, also for another ending.
    """
    path = Path(path)
    if path.suffix not in KINDS:
        raise OutputUnwritable(path, f"figures are written as {', '.join(KINDS)}, not as {path.suffix!r}")
    if path.exists() and not overwrite:
        raise OutputExists(path)
    try:
        path.write_bytes(encoded(_root(drawn.flat[0] if hasattr(drawn, "flat") else drawn), path.suffix))
    except OSError as error:
        raise OutputUnwritable(path, error.strerror or str(error)) from error


def encoded(figure: Figure, kind: str, **options: Any) -> bytes:
    """A figure as the bytes of a file without a date: the same steps give the same file.

    Args:
        figure: What to write.
        kind: One of `KINDS`.
        options: Of ``Figure.savefig``.
    """
    from matplotlib import rc_context

    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(kind)
    data = io.BytesIO()
    with rc_context({**_EMBEDDED, "svg.hashsalt": "contextmix"}):
        figure.savefig(data, format=kind[1:], metadata=dates, **options)
    return data.getvalue()


def pyplot() -> Any:
    """``matplotlib.pyplot``, loaded when the first figure is drawn.

    Raises:
        BadOption: If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot
    except ImportError as missing:
        raise BadOption('Figures need matplotlib: pip install "contextmix[plot]".') from missing
    return matplotlib.pyplot


def axes_or_new(ax: Axes | None, height: float) -> Axes:
    """The axes that were given, or those of a new figure as wide as the settings say.

    Args:
        ax: Where to draw, or None.
        height: Of a new figure, in inches.
    """
    if ax is not None:
        return ax
    plot = pyplot()
    return plot.subplots(figsize=(plot.rcParams["figure.figsize"][0], height), layout="constrained")[1]  # type: ignore[no-any-return]


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


def extent(axes: Axes) -> tuple[float, float]:
    """Width and height in inches of the part of the figure that is for these axes and their labels."""
    canvas, place = _root(axes), axes.get_subplotspec()
    down, across = (place.get_gridspec().nrows, place.get_gridspec().ncols) if place else (1, 1)
    return float(canvas.get_figwidth()) / across, float(canvas.get_figheight()) / down


def _root(drawn: Any) -> Figure:
    """The whole figure of axes, of a figure inside a figure, or of itself."""
    root: Figure = drawn.figure.figure
    return root


def _points(setting: str) -> float:
    """The size of letters, which settings may also name, such as ``"medium"``."""
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size=pyplot().rcParams[setting]).get_size_in_points())


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
