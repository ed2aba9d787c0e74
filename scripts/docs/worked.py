"""Three tokens, with numbers: each method on a text of one word, computed when pages are written."""

from functools import cache
from typing import Any

import numpy as np
from scripts.docs.pictures import model

import contextmix as cm
from contextmix.plugins.contracts import Method, ModelMethod, Recipe

TEXT = "meaningful"  # with [CLS] and [SEP], three tokens


@cache
def _trace() -> Any:
    return model().trace(TEXT)


def worked(plugin: Method | ModelMethod | Recipe) -> str:
    """A section with the method's numbers for three tokens."""
    if isinstance(plugin, ModelMethod):
        told = _output(plugin.name)
    elif isinstance(plugin, Recipe):
        told = _paths(plugin)
    else:
        told = _layer(plugin.name)
    return f"## Three tokens, with numbers\n\n{told}"


def table(numbers: np.ndarray, tokens: list[str]) -> str:
    """A map as a table: rows receive, columns are what they draw from."""
    head = "| | " + " | ".join(f"`{token}`" for token in tokens) + " |\n|" + " --- |" * (len(tokens) + 1)
    rows = [
        f"| `{token}` | " + " | ".join(number(one) for one in row) + " |"
        for token, row in zip(tokens, numbers, strict=True)
    ]
    return "\n".join([head, *rows])


def number(value: float) -> str:
    """Three significant digits, with a true minus."""
    shown = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return shown.replace("-", "−")


def _output(name: str) -> str:
    found = model().explain(TEXT, name)
    row = found.row("[CLS]") if "query" in found.dims else found
    names = list(_trace().tokens.pieces)
    cells = " | ".join(map(number, row.values))
    head = "| " + " | ".join(f"`{token}`" for token in names) + " |\n|" + " --- |" * len(names)
    return f"`demo` reads `{' '.join(names)}`. `{name}` gives each token a number:\n\n{head}\n| {cells} |"


def _layer(name: str) -> str:
    names = list(_trace().tokens.pieces)
    weights, found = (cm.measure(_trace(), one).layer(-1).values for one in ("attention", name))
    parts = [f"`demo` reads `{' '.join(names)}`. Rows receive, columns are what they draw from."]
    if name != "attention":
        parts.append(f"Attention weights of the last layer:\n\n{table(weights, names)}")
    return "\n\n".join([*parts, f"`{name}` of the same layer:\n\n{table(found, names)}"])


def _paths(recipe: Recipe) -> str:
    names = list(_trace().tokens.pieces)
    maps = cm.measure(_trace(), recipe.method).values
    mixed = model().explain(TEXT, recipe.name, layers="all").values
    parts = [
        f"`demo` reads `{' '.join(names)}`. Map of each layer (`{recipe.method}`):",
        *(f"Layer {layer}:\n\n{table(one, names)}" for layer, one in enumerate(maps)),
    ]
    if recipe.aggregation == "rollout":
        terms = [(maps[-1][0, k], mixed[-2][k, 1]) for k in range(len(names))]
        written = " + ".join(f"{number(a)} · {number(b)}" for a, b in terms)
        total = sum(a * b for a, b in terms)
        assert np.isclose(total, mixed[-1][0, 1])
        middle = f"through each of the three tokens of layer {len(maps) - 2}"
        parts.append(f"`[CLS]` draws from `{names[1]}` {middle}: {written} = **{number(total)}**.")
    together = f"All layers together (`{recipe.name}`):\n\n{table(mixed[-1], names)}"
    return "\n\n".join([*parts, together])
