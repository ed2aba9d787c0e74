"""What a method gives on the built-in model, drawn when the documentation is built."""

from functools import cache
from typing import Any

import contextmix as cm
from contextmix.plugins.contracts import Method, ModelMethod, Recipe
from contextmix.views.figures.canvas import encoded

TEXT = "not even the fine cast can save this tedious mess of a movie ."
WIDTH = 4.6


@cache
def model() -> Any:
    """The built-in classifier."""
    return cm.load("demo")


@cache
def trace() -> Any:
    """One run of it."""
    return model().trace(TEXT)


def picture(plugin: Method | ModelMethod | Recipe, drawn: bool) -> tuple[bytes, str]:
    """A PNG and its caption: bars for the whole model, layers for what is added up over them, else the last layer."""
    name = plugin.name
    if isinstance(plugin, ModelMethod):
        said = "what each token did for the predicted class"
    elif isinstance(plugin, Recipe):
        said = "what `[CLS]` is made of, up to each layer"
    else:
        said = "the map of the last layer"
    return _drawn(plugin) if drawn else b"", f"`{name}` on the built-in model `demo`: {said}."


def aggregated(name: str, maps: str, drawn: bool) -> tuple[bytes, str]:
    """The same for an aggregation of these maps."""
    said = f"`{name}` of `{maps}` on the built-in model `demo`: what `[CLS]` is made of, up to each layer."
    if not drawn:
        return b"", said
    with cm.plots.column(WIDTH):
        return _png(cm.aggregate(cm.measure(trace(), maps), name).plot("[CLS]")), said


def _drawn(plugin: Method | ModelMethod | Recipe) -> bytes:
    with cm.plots.column(WIDTH):
        if isinstance(plugin, ModelMethod):
            found = model().explain(TEXT, plugin.name)
            return _png((found.row("[CLS]") if "query" in found.dims else found).plot())
        if isinstance(plugin, Recipe):
            return _png(model().explain(TEXT, plugin.name, layers="all").plot("[CLS]"))
        return _png(cm.measure(trace(), plugin.name).layer(-1).plot())


def _png(axes: Any) -> bytes:
    from matplotlib import pyplot

    data = encoded(axes.figure, ".png", dpi=160)
    pyplot.close(axes.figure)
    return data
