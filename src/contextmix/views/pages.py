"""Explorations as pages and notebook cells: the explorer, and a picture for where no script runs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from markupsafe import Markup

from contextmix.errors import BadInput
from contextmix.exploration import Exploration
from contextmix.tokenmap import TokenMap
from contextmix.tokens import printable
from contextmix.views import notebook
from contextmix.views.facts import model_name
from contextmix.views.report import Section, report

HINT = "Install contextmix[notebook] to explore this here, or write it into a page: .save('x.html')."


def page(explorations: Sequence[Exploration], title: str = "") -> str:
    """One page with an explorer for each exploration; see `contextmix.views.report`.

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
        parts.append(notebook.preview(row, over))
    return "\n".join([*parts, *([_sentence(hint)] if hint else [])])


def first_row(exploration: Exploration, method: str) -> TokenMap:
    """The row of the first token in the last layer; with heads, that of the first head, and of classes the first."""
    row = exploration.row(method)
    for axis in ("target", "head"):
        row = getattr(row, axis)(0) if axis in row.dims else row
    return row


def said(exploration: Exploration) -> str:
    """What the model says, as a sentence; empty where it says nothing.

    Example:
        >>> from contextmix.provenance import Provenance
        >>> from contextmix.tokens import Tokens
        >>> made = Provenance("a", model="demo", notes={"prediction": {"label": "positive", "probability": 0.9}})
        >>> said(Exploration({"a": TokenMap([1.0], ("key",), Tokens(("a",)), "norm", made)}))
        'demo says: positive (90.0%)'
    """
    found = exploration.prediction
    if not found:
        return ""
    where = next((f" {word} “{printable(found[word])}”" for word in ("after", "at") if word in found), "")
    label = f"“{printable(found['label'])}”" if where else printable(found["label"])
    model = printable(model_name(next(iter(exploration.maps.values())).provenance.model or "the model"))
    return f"{model} says{where}: {label} ({found['probability']:.1%})"


def show(exploration: Exploration) -> None:
    """Display it in the running notebook: as a widget where anywidget is installed, else as a picture."""
    display = importlib.import_module("IPython.display")
    found, metadata = mimebundle(exploration)
    display.display(found, raw=True, metadata=metadata)


def mimebundle(exploration: Exploration) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a notebook keeps of it: the widget, and the picture that stands there where no kernel runs."""
    live = notebook.is_running() and has_widgets()
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
            "'contextmix[notebook]'. Without it, exploration.save('x.html') writes a page that needs nothing."
        )
    from contextmix.views.widget import ExplorerWidget

    return ExplorerWidget(exhibit=exploration.to_exhibit())


def _sentence(text: str) -> str:
    return Markup('<p style="margin:.4em 0;font:14px/1.7 system-ui,sans-serif">{}</p>').format(text)
