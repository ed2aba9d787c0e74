"""What is said of an exploration before it is drawn: what the model says, and the row that is shown first."""

from __future__ import annotations

from contextmix.results.exploration import Exploration
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import printable
from contextmix.views.drawing.facts import model_name


def first_row(exploration: Exploration, method: str) -> TokenMap:
    """The row of the first token in the last layer; with heads, that of the first head, and of classes the first."""
    row = exploration.row(method)
    for axis in ("target", "head"):
        row = getattr(row, axis)(0) if axis in row.dims else row
    return row


def said(exploration: Exploration) -> str:
    """What the model says, as a sentence; empty where it says nothing.

    Example:
        >>> from contextmix.results.provenance import Provenance
        >>> from contextmix.tokens.pieces import Tokens
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
