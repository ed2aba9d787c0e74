"""What to compute: a method, perhaps an aggregation, and the options of both, checked before any work begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from contextmix.errors import BadOption, UnknownPosition, UnsupportedModel
from contextmix.maths.shares import at_most_one, parts_again
from contextmix.maths.whole import whole_number
from contextmix.options.asked import plain_layers
from contextmix.plugins.contracts import Aggregation, Measured, Method, ModelMethod, Recipe
from contextmix.plugins.registry import AGGREGATIONS as AGGREGATIONS
from contextmix.plugins.registry import METHODS as METHODS
from contextmix.plugins.selection import Selection, selected, selected_to_compare
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.model_run import ModelRun
from contextmix.traces.span_run import SpanRun
from contextmix.traces.trace import LayerTrace


@dataclass(frozen=True)
class Plan(Selection):
    """A method and what follows it, ready to compute.

    Attributes:
        queries: The row of each sequence of a batch that is measured by itself, where the method can; None for all.
    """

    queries: tuple[int, ...] | None = None

    def of_rows(self, queries: Sequence[int]) -> Plan:
        """The same for one row of each sequence, where that costs less than whole maps and nothing else is asked."""
        alone = isinstance(self.method, Method) and self.method.row is not None and self.aggregation is None
        return replace(self, queries=tuple(queries)) if alone else self

    def measure(self, layer: LayerTrace) -> Measured:
        """The mixing map of one layer, with its report; of `queries` (batch, 1, key)."""
        assert isinstance(self.method, Method)
        refuse_decoder_step(self.method, layer)
        if self.queries is None:
            return measured(self.method.measure(layer, **self.options))
        assert self.method.row is not None  # `of_rows` said so
        found = [
            measured(self.method.row(layer[number], query, **self.options)) for number, query in enumerate(self.queries)
        ]
        notes = {name: torch.stack([one.notes[name] for one in found]) for name in found[0].notes}
        return Measured(torch.stack([one.values for one in found]), notes)

    def attribute(self, run: ModelRun) -> Measured:
        """The attribution of the whole model, with its report."""
        assert isinstance(self.method, ModelMethod)
        return measured(self.method.attribute(run, **self.options))

    @property
    def in_one_run(self) -> bool:
        """Whether several neighbouring tokens are explained in one run of the model."""
        return isinstance(self.method, ModelMethod) and self.method.steps is not None

    @property
    def reads_rows(self) -> bool:
        """Whether it explains neighbouring tokens by what was recorded in their rows, without gradients."""
        return self.in_one_run and isinstance(self.method, ModelMethod) and self.method.reads == "rows"

    def steps(self, run: SpanRun) -> Measured:
        """What made each of several neighbouring tokens, (row, key), with its report."""
        assert isinstance(self.method, ModelMethod)
        assert self.method.steps is not None  # `in_one_run` said so
        return measured(self.method.steps(run, **self.options))

    def combine(self, maps: Tensor) -> Measured:
        """Maps of all layers (layer, ..., query, key) → attributions up to each layer, in float64."""
        if self.aggregation is None:
            return Measured(maps)
        found = measured(self.aggregation.combine(maps.double(), **self.aggregation_options))
        return in_range(found, maps, self.quantity, self.aggregation)

    def combine_row(self, maps: Tensor, query: int) -> Measured:
        """One row of the last layer's attribution, (..., key), in float64."""
        if self.aggregation is None:
            raise BadOption("A row of combined layers needs an aggregation.")
        found = measured(self.aggregation.combine_row(maps.double(), query, **self.aggregation_options))
        return in_range(found, maps, self.quantity, self.aggregation)

    def result(self, maps: Tensor, tokens: Tokens, made: Provenance, query: int | str | None, layers: Any) -> TokenMap:
        """One sequence's maps (layer, ..., query, key) as the result that was asked for; see `TracedModel.explain`."""
        everything = self.aggregation is None
        if self.queries is not None and query is not None:
            shown = layer_numbers(layers, len(maps), everything=everything)
            return self.row(maps[shown].squeeze(-2), tokens, made, tokens.position(query), layers, len(maps))
        if not everything and query is not None and layers is None:
            position = tokens.position(query)
            place = {"query": position, "layer": len(maps) - 1}
            row = self.combine_row(maps, position)
            made = noted(made, row)
            return TokenMap(row.values.cpu().numpy(), ("key",), tokens, self.quantity, made, selected=place)
        shown = layer_numbers(layers, len(maps), everything=everything)
        dims = ("layer", "head", "query", "key") if maps.ndim == 4 else ("layer", "query", "key")
        combined = self.combine(maps)
        values = combined.values[shown].cpu().numpy()
        found = TokenMap(values, dims, tokens, self.quantity, noted(made, combined), layers=shown)
        found = found.layer(-1) if layers is None and not everything else found
        return found if query is None else found.row(query)

    def row(self, values: Tensor, tokens: Tokens, made: Provenance, query: int, layers: Any, depth: int) -> TokenMap:
        """One row of each shown layer, (layer, ..., key), as the `result` that whole maps of so many layers give."""
        shown = layer_numbers(layers, depth, everything=self.aggregation is None)
        dims = ("layer", "head", "key") if values.ndim == 3 else ("layer", "key")
        place = {"query": query}
        found = TokenMap(values.cpu().numpy(), dims, tokens, self.quantity, made, layers=shown, selected=place)
        return found.layer(-1) if layers is None and self.aggregation is not None else found

    def describe(self) -> dict[str, Any]:
        """The fields of a `Provenance` that the plan decides."""
        aggregation = self.aggregation.name if self.aggregation else None
        notes = {"recipe": self.name} if self.name in METHODS and self.name != self.method.name else {}
        return {
            "method": self.method.name,
            "options": self.options,
            "aggregation": aggregation,
            "aggregation_options": self.aggregation_options,
            "notes": notes,
        }


def plans_to_compare(methods: Sequence[str]) -> list[Plan]:
    """The plans of several methods, each with its defaults; raises as `selected_to_compare` does."""
    return [_planned(one) for one in selected_to_compare(methods)]


def make_plan(name: str, aggregation: str | None = None, options: Mapping[str, Any] | None = None) -> Plan:
    """Look up what was asked for and sort the options to whom they belong; see `selected`, which raises."""
    return _planned(selected(name, aggregation, options))


def _planned(found: Selection) -> Plan:
    """What was selected, with the functions that compute it."""
    method = METHODS[found.method.name]
    assert not isinstance(method, Recipe)  # `selected` has taken it apart
    way = None if found.aggregation is None else AGGREGATIONS[found.aggregation.name]
    return Plan(found.name, method, found.options, way, found.aggregation_options)


def refuse_decoder_step(method: Method, layer: LayerTrace) -> None:
    """A step of a decoder block with cross-attention, for a method that is not defined on it.

    Raises:
        UnsupportedModel: With the methods that are.
    """
    if method.decoder is None and (layer.cross or layer.following is not None):
        defined = [name for name, one in METHODS.items() if isinstance(one, Method) and one.decoder]
        raise UnsupportedModel(
            f"{method.name} is defined for a block whose tokens draw on their own sequence through one attention, and "
            f"a decoder block of an encoder–decoder has two. No number was produced. Defined there: "
            f"{', '.join(defined)}."
        )


def measured(found: Tensor | Measured) -> Measured:
    """A map with its report, which is empty where the method gives none."""
    return found if isinstance(found, Measured) else Measured(found)


def in_range(found: Measured, maps: Tensor, quantity: Quantity, way: Aggregation) -> Measured:
    """Combined layers in the range of their quantity: no share above one, by rounding; maps as they were measured."""
    if quantity is not Quantity.SHARE:
        return found
    return replace(found, values=at_most_one(parts_again(found.values) if way.exceeds else found.values, maps))


def noted(made: Provenance, found: Measured) -> Provenance:
    """The provenance with the report of a computation."""
    return made.noting(**{name: value.tolist() for name, value in found.notes.items()}) if found.notes else made


def layer_notes(found: Sequence[Measured], row: int | None = None) -> dict[str, list[Any]]:
    """The reports of all layers, name → one entry per layer.

    Args:
        found: One map per layer.
        row: The sequence of a batch; None where there is no batch axis.
    """
    names = dict.fromkeys(name for one in found for name in one.notes)
    return {
        name: [(one.notes[name] if row is None else one.notes[name][row]).tolist() for one in found] for name in names
    }


def layer_numbers(layers: Any, count: int, *, everything: bool) -> list[int]:
    """The blocks to show: numbers, ``"all"``, or None for the last one (or ``everything``).

    Raises:
        BadOption: If it is none of these.
        UnknownPosition: If there is no such layer.
    """
    layers = plain_layers(layers)
    if layers is None:
        return list(range(count)) if everything else [count - 1]
    if layers == "all":
        return list(range(count))
    numbers = [whole_number(layer) for layer in layers] if isinstance(layers, Sequence) else []
    if not numbers or None in numbers:
        raise BadOption(f"layers={layers!r} is neither 'all' nor a list of layer numbers from 0 to {count - 1}.")
    found = [number for number in numbers if number is not None]
    for layer in found:
        if not -count <= layer < count:
            raise UnknownPosition("layer", layer, range(count))
    return [layer % count for layer in found]
