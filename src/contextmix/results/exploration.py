"""Exploration: the full maps of several methods on one input, to look into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contextmix.errors import BadOption, UnknownName, WrongShape, refuse_kind, refuse_kinds, refuse_named
from contextmix.maths.shapes import cut
from contextmix.results.attached import attached
from contextmix.results.comparison import Comparison
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.regions import Regions


@dataclass(frozen=True, eq=False)
class Exploration:
    """One input, the full maps of several methods, and what the model says; made by `TracedModel.explore`.

    In a notebook, the last line of a cell shows it as the explorer: hover over tokens, scrub through layers, compare
    methods. `save` writes the same into one HTML file.

    Attributes:
        maps: Method → its map: dims (layer, query, key), with a head axis where heads were asked for, or (key,) for
            methods of the whole model.
        query: Position of the token that is looked at first; None for the first one, or the last where no token draws
            from a later one.
        about: Method → its formula and its paper in short.
        over: The image or the sound that was explained; None for texts.

    Example:
        >>> import contextmix
        >>> result = contextmix.load("demo").explore("a deep and meaningful film .", ["globenc", "attention"])
        >>> result
        <Exploration of 'demo': globenc, attention; 8 tokens>
        >>> result.maps["globenc"].shape
        (3, 8, 8)
        >>> result.prediction["label"]
        'positive'
    """

    maps: Mapping[str, TokenMap]
    query: int | None = None
    about: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    over: Any = None

    def __post_init__(self) -> None:
        refuse_kinds(self, query=(int, type(None)), about=Mapping)
        refuse_named("Exploration: maps", self.maps, TokenMap)
        if not self.maps:
            raise BadOption("The exploration is empty. Give at least one map.")

    def __repr__(self) -> str:
        first = next(iter(self.maps.values()))
        model = f" of {cut(repr(first.provenance.model))}" if first.provenance.model else ""
        names = cut(repr(", ".join(map(str, self.maps)))[1:-1], 120)
        return f"<Exploration{model}: {names}; {len(first.tokens)} tokens>"

    @property
    def tokens(self) -> Tokens:
        """The tokens that are drawn from: the columns of all maps."""
        return next(iter(self.maps.values())).tokens

    @property
    def prediction(self) -> Mapping[str, Any]:
        """What the model says: ``label``, ``probability``, and where it says it; empty where it says nothing."""
        said = (one.provenance.notes.get("prediction") for one in self.maps.values())
        return next((one for one in said if one), {})

    def comparison(self, query: int | str | None = None) -> Comparison:
        """The row of one token by each method, in the last layer, with their rank correlations.

        Args:
            query: Left out, the token that is looked at first. Methods of the whole model have one row, and it stays.

        Raises:
            UnknownToken: If there is no such query.
            WrongShape: If a map keeps heads apart: their rows are not one row.
        """
        for name, one in self.maps.items():
            if "head" in one.dims:
                raise WrongShape(
                    f"A comparison needs one row per method, but {name} has one per head. Explore without heads=True, "
                    f"or look at one: exploration.maps[{name!r}].head(0)."
                )
        return Comparison({name: self.row(name, query) for name, one in self.maps.items()})

    def row(self, method: str, query: int | str | None = None) -> TokenMap:
        """What one token draws from each token in the last layer, by one method; with heads, (head, key).

        Of maps of several classes it is that of the predicted one.

        Args:
            method: One of those that were explored.
            query: Left out, the token that is looked at first.

        Raises:
            UnknownName: If the method was not explored.
            UnknownToken: If there is no such query.
        """
        refuse_kind("Exploration.row: method", method, str)
        if method not in self.maps:
            raise UnknownName("method in this exploration", method, self.maps)
        found = self.maps[method]
        found = found.layer(-1) if "layer" in found.dims else found
        if "target" in found.dims:
            label = self.prediction.get("label")
            found = found.target(label if label in (found.targets or ()) else 0)
        if "query" not in found.dims:
            return found
        return found.row(self._first() if query is None else query)

    @attached
    def to_exhibit(self, bits: Any = None) -> dict[str, Any]:
        """The document that the explorer shows, as JSON values; see `contextmix.views.page.exhibit`.

        Args:
            bits: 8 or 16 per number; left out, as many as keep a page small.
        """

    @attached
    def save(
        self, path: str | Path, overwrite: bool = False, *, beside: Sequence[Exploration] = (), title: str = ""
    ) -> None:
        """Write an ``.html`` file with the explorer and its data: it needs no network and runs nothing else.

        Args:
            path: A name that ends in ``.html``.
            overwrite: Whether an existing file may be replaced.
            beside: Further explorations for the same page, below this one.
            title: Of the page; left out, the text.

        Raises:
            OutputExists: If the file exists and may not be replaced.
            OutputUnwritable: If it cannot be written, or has another ending.
        """

    @attached
    def show(self) -> None:
        """Show it: in a notebook as the explorer, in a terminal as the rows of the token that is looked at first."""

    @attached
    def widget(self) -> Any:
        """The explorer as a widget for Jupyter, VS Code and Colab (needs anywidget: ``contextmix[notebook]``).

        Raises:
            BadInput: If anywidget is not installed.
        """

    @attached
    def _repr_html_(self) -> str:
        """The last line of a notebook cell where no widget runs."""

    @attached
    def _repr_mimebundle_(self, **_: Any) -> Any:
        """The last line of a notebook cell."""

    def _first(self) -> int:
        """The query, where there is a map with rows."""
        if self.query is not None:
            return self.query
        return usual_query(next(one for one in self.maps.values() if "query" in one.dims))[0]


def usual_query(token_map: TokenMap) -> tuple[int, bool]:
    """The row that is shown where none was chosen: the first token, or the last where none draws from a later one.

    Of a prompt with images it is the last, which the answer follows; the images may be read in both directions.

    Args:
        token_map: Any map with a key axis.

    Returns:
        Its position, and whether it is the last for that reason. A map without queries has none: then 0.
    """
    if "query" not in token_map.dims:
        return token_map.selected.get("query", 0), False
    values = token_map.values
    if isinstance(token_map.query_tokens.places, Regions):  # images may be read in both directions; the end sees all
        return values.shape[-2] - 1, False
    rows, columns = values.shape[-2:]
    causal = rows == columns > 1 and not np.triu(values, 1).any()
    return (rows - 1, True) if causal else (0, False)
