"""The paper that figures are drawn on: column widths, fonts, and files that publishers accept."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from contextmix.errors import BadOption, OutputUnwritable, refuse_kind
from contextmix.results.files import refuse_place, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = {"single": 3.03, "double": 6.3}
"""Inches of one and of two columns in the style of ACL, EMNLP and NAACL; other venues are close (NeurIPS: 5.5)."""
KINDS = (".pdf", ".svg", ".png")
FALLBACK = "DejaVu Sans"
"""The font that comes with matplotlib: whatever font is in use, signs that it lacks are looked up here."""

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
    refuse_kind("column: width", width, str, Real)
    refuse_kind("column: serif", serif, bool)
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
    path, figure = Path(path), _figure_of(drawn)
    if path.suffix not in KINDS:
        raise OutputUnwritable(path, f"figures are written as {', '.join(KINDS)}, not as {path.suffix!r}")
    refuse_place(path, overwrite)  # before the work, not after it
    write_atomically(path, encoded(figure, path.suffix), overwrite)


def _figure_of(drawn: Any) -> Figure:
    """The whole figure of axes, of an array of them, or of itself."""
    pyplot()
    from matplotlib.artist import Artist

    first = drawn.flat[0] if isinstance(drawn, np.ndarray) and drawn.size else drawn
    refuse_kind("save: drawn", first, Artist)
    if getattr(first, "figure", None) is None:
        raise BadOption(f"A {type(first).__name__} on no figure cannot be written. Save the axes that it is on.")
    return root(first)


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
        refuse_axes("ax", ax)
        return ax
    plot = pyplot()
    return plot.subplots(figsize=(plot.rcParams["figure.figsize"][0], height), layout="constrained")[1]  # type: ignore[no-any-return]


def refuse_axes(what: str, axes: object) -> None:
    """Refuse to draw on what are no axes of matplotlib: by a `TypeError`, as it is a wrong call.

    Args:
        what: The argument, for the sentence.
        axes: What was given.
    """
    pyplot()  # says kindly where matplotlib is missing
    from matplotlib.axes import Axes

    refuse_kind(what, axes, Axes)


def extent(axes: Axes) -> tuple[float, float]:
    """Width and height in inches of the part of the figure that is for these axes and their labels."""
    canvas, place = root(axes), axes.get_subplotspec()
    down, across = (place.get_gridspec().nrows, place.get_gridspec().ncols) if place else (1, 1)
    return float(canvas.get_figwidth()) / across, float(canvas.get_figheight()) / down


def root(drawn: Any) -> Figure:
    """The whole figure of axes, of a figure inside a figure, or of itself."""
    root: Figure = drawn.figure.figure
    return root
