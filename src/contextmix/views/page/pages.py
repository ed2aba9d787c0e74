"""Explorations as pages and notebook cells: the explorer, and a picture for where no script runs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from markupsafe import Markup

from contextmix.errors import BadInput, OutputUnwritable, refuse_entries, refuse_kind
from contextmix.results.comparison import Comparison
from contextmix.results.exploration import Exploration
from contextmix.results.files import PAGES, refuse_place, write_atomically
from contextmix.views.drawing.exploration import first_row, said
from contextmix.views.page import fragment
from contextmix.views.page.report import Section, report

HINT = "Install contextmix[notebook] to explore this here, or write it into a page: .save('x.html')."


def save(
    exploration: Exploration,
    path: str | Path,
    overwrite: bool = False,
    *,
    beside: Sequence[Exploration] = (),
    title: str = "",
) -> None:
    """Write a page; see `Exploration.save`."""
    refuse_entries("Exploration.save: beside", beside, Exploration)
    refuse_kind("Exploration.save: title", title, str)
    if Path(path).suffix.lower() not in PAGES:
        raise OutputUnwritable(path, f"explorations are written as pages, so its name must end in {PAGES[0]}")
    refuse_place(path, overwrite)  # before the work, not after it
    write_atomically(path, encoded([exploration, *beside], title), overwrite)


def save_comparison(found: Comparison, path: str | Path, overwrite: bool = False) -> None:
    """Write a page of the rows of a comparison; see `Comparison.save`."""
    save(Exploration(found.rows), path, overwrite)


def encoded(explorations: Sequence[Exploration], title: str = "") -> bytes:
    """The same as `page`, as the bytes of a file; a broken text is written with escapes."""
    return page(explorations, title).encode("utf-8", "backslashreplace")


def page(explorations: Sequence[Exploration], title: str = "") -> str:
    """One page with an explorer for each exploration; see `contextmix.views.page.report`.

    Args:
        explorations: One at least.
        title: Of the page; left out, the first text.
    """
    return report([Section(one.to_exhibit(), still(one)) for one in explorations], title)


def still(exploration: Exploration, hint: str = "") -> str:
    """What the explorer shows first, as HTML without script: what the model says, and one row by each method.

    Args:
        exploration: Any.
        hint: A last sentence.
    """
    parts = [_sentence(said(exploration))] if exploration.prediction else []
    for number, name in enumerate(exploration.maps):
        row = first_row(exploration, name)
        over = exploration.over if number == 0 and "layer" not in row.dims else None
        parts.append(fragment.preview(row, over))
    return "\n".join([*parts, *([_sentence(hint)] if hint else [])])


def show(exploration: Exploration) -> None:
    """Display it in the running notebook: as a widget where anywidget is installed, else as a picture."""
    display = importlib.import_module("IPython.display")
    found, metadata = mimebundle(exploration)
    display.display(found, raw=True, metadata=metadata)


def mimebundle(exploration: Exploration, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a notebook keeps of it: the widget, and the picture that stands there where no kernel runs.

    Args:
        exploration: Any.
        _: What a notebook would like to have and leave out; it gets all.
    """
    live = fragment.is_running() and has_widgets()
    found: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if live:
        made = widget(exploration)._repr_mimebundle_()
        found, metadata = made if isinstance(made, tuple) else (made, {})
    own = {"text/plain": repr(exploration), "text/html": still(exploration, "" if live else HINT)}
    return {**(found or {}), **own}, metadata or {}


def has_widgets() -> bool:
    """Whether anywidget is installed."""
    return find_spec("anywidget") is not None


def widget(exploration: Exploration) -> Any:
    """The explorer as a widget.

    Raises:
        BadInput: If anywidget is not installed.
    """
    if not has_widgets():
        raise BadInput(
            "The explorer needs the library anywidget to run in a notebook, and it is not installed: pip install "
            "'contextmix[notebook]'. Without it, exploration.save('x.html') writes a page that needs no installation."
        )
    from contextmix.views.page.widget import ExplorerWidget

    return ExplorerWidget(exhibit=exploration.to_exhibit())


def _sentence(text: str) -> str:
    return Markup('<p style="margin:.4em 0;font:14px/1.7 system-ui,sans-serif">{}</p>').format(text)
