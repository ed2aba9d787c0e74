"""What to compute: a method, perhaps an aggregation, and the options of both, checked before any work begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

from contextmix.errors import BadOption, UnknownName, UnknownPosition, UnsupportedModel, WrongQuantity
from contextmix.maths.shares import at_most_one
from contextmix.maths.whole import whole_number
from contextmix.options.asked import plain_layers
from contextmix.plugins.contracts import Aggregation, Measured, Method, ModelMethod, Recipe, options_of
from contextmix.plugins.registry import Registry
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.model_run import ModelRun
from contextmix.traces.trace import LayerTrace

METHODS: Registry[Method | ModelMethod | Recipe] = Registry("contextmix.methods", "METHOD", "method")
AGGREGATIONS: Registry[Aggregation] = Registry("contextmix.aggregations", "AGGREGATION", "aggregation")


@dataclass(frozen=True)
class Plan:
    """A method and what follows it.

    Attributes:
        name: What was asked for: a method, a recipe, or both parts as in ``"norm+rollout"``.
        method: A mixing map, or an attribution of the whole model.
        options: Its options.
        aggregation: The way across layers; None leaves the maps of all layers side by side.
        aggregation_options: Its options.
    """

    name: str
    method: Method | ModelMethod
    options: Mapping[str, Any]
    aggregation: Aggregation | None
    aggregation_options: Mapping[str, Any]

    @property
    def of_model(self) -> bool:
        """Whether it explains a score of the whole model, with no query and no layers to choose."""
        return isinstance(self.method, ModelMethod)

    @property
    def quantity(self) -> Quantity:
        """What the numbers of the method are under these options."""
        return quantity_of(self.method, self.options)

    def measure(self, layer: LayerTrace) -> Measured:
        """The mixing map of one layer, with its report."""
        assert isinstance(self.method, Method)
        refuse_decoder_step(self.method, layer)
        return measured(self.method.measure(layer, **self.options))

    def attribute(self, run: ModelRun) -> Measured:
        """The attribution of the whole model, with its report."""
        assert isinstance(self.method, ModelMethod)
        return measured(self.method.attribute(run, **self.options))

    def combine(self, maps: Tensor) -> Measured:
        """Maps of all layers (layer, ..., query, key) → attributions up to each layer, in float64."""
        if self.aggregation is None:
            return Measured(maps)
        found = measured(self.aggregation.combine(maps.double(), **self.aggregation_options))
        return in_range(found, maps, self.quantity)

    def combine_row(self, maps: Tensor, query: int) -> Measured:
        """One row of the last layer's attribution, (..., key), in float64."""
        if self.aggregation is None:
            raise BadOption("A row of combined layers needs an aggregation.")
        found = measured(self.aggregation.combine_row(maps.double(), query, **self.aggregation_options))
        return in_range(found, maps, self.quantity)

    def result(self, maps: Tensor, tokens: Tokens, made: Provenance, query: int | str | None, layers: Any) -> TokenMap:
        """One sequence's maps (layer, ..., query, key) as the result that was asked for; see `TracedModel.explain`."""
        everything = self.aggregation is None
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
    """The plans of several methods, each with its defaults.

    Raises:
        UnknownName: If a method does not exist.
        BadOption: If fewer than two are named, or one twice.
    """
    plans = [make_plan(name) for name in methods]
    names = [plan.name for plan in plans]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise BadOption(f"A comparison needs at least two different methods; got {', '.join(names) or 'none'}.")
    return plans


def make_plan(name: str, aggregation: str | None = None, options: Mapping[str, Any] | None = None) -> Plan:
    """Look up what was asked for and sort the options to whom they belong.

    Args:
        name: A method, a recipe, or a method and a way across layers as in ``"norm+rollout"``.
        aggregation: A way across layers; a recipe brings its own.
        options: Options of the method and of the aggregation, by name.

    Raises:
        UnknownName: If a name or an option does not exist; with near misses.
        BadOption: If a recipe is given another aggregation, or an option a value that it does not have.
        WrongQuantity: If the aggregation cannot combine what the method measures.
    """
    name, plus, way_asked = (name if isinstance(name, str) else repr(name)).partition("+")
    if plus and aggregation is not None:
        raise BadOption(f"{name}+{way_asked} names a way across layers, and aggregation={aggregation!r} another.")
    aggregation = way_asked if plus else aggregation
    asked = METHODS[name]
    given: dict[str, Any] = dict(options or {})
    if isinstance(asked, Recipe):
        if aggregation is not None and AGGREGATIONS[aggregation].name != asked.aggregation:
            raise BadOption(
                f"{asked.name} is {asked.method} with {asked.aggregation}; with {aggregation} it would be another "
                f"method. Ask for method={asked.method!r}, aggregation={aggregation!r}."
            )
        aggregation = asked.aggregation
        given = {**asked.options, **asked.aggregation_options, **given}
    method = METHODS[asked.method] if isinstance(asked, Recipe) else asked
    assert not isinstance(method, Recipe)  # a recipe names a method, never another recipe (contract test)
    way = None if aggregation is None else AGGREGATIONS[aggregation]
    if way is not None and isinstance(method, ModelMethod):
        raise BadOption(f"{name} explains the whole model at once, so there are no layers for {way.name} to combine.")
    if way is not None and given.get("heads") == "each":
        raise BadOption(
            f"{way.name} combines one map per layer, and heads='each' gives one per head. Choose one of them."
        )
    formula = method.measure if isinstance(method, Method) else method.attribute
    own, ways = options_of(formula), options_of(way.combine) if way else {}
    for option in given:
        if option not in own and option not in ways:
            raise UnknownName(f"option of {asked.name}", option, {**own, **ways} or ["none"])
    plan = Plan(
        f"{asked.name}+{way.name}" if plus and way else asked.name,
        method,
        {key: value for key, value in given.items() if key in own},
        way,
        {key: value for key, value in given.items() if key in ways and key not in own},
    )
    refuse_values(formula, plan.options)
    refuse_values(way.combine if way else None, plan.aggregation_options)
    refuse_quantity(way, plan.quantity, method.name)
    return plan


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


def quantity_of(method: Method | ModelMethod, options: Mapping[str, Any]) -> Quantity:
    """What the numbers of a method are under these options."""
    return method.quantity if isinstance(method.quantity, Quantity) else method.quantity(options)


def measured(found: Tensor | Measured) -> Measured:
    """A map with its report, which is empty where the method gives none."""
    return found if isinstance(found, Measured) else Measured(found)


def in_range(found: Measured, maps: Tensor, quantity: Quantity) -> Measured:
    """Combined layers in the range of their quantity: no share above one, by rounding; maps as they were measured."""
    return replace(found, values=at_most_one(found.values, maps)) if quantity is Quantity.SHARE else found


def noted(made: Provenance, found: Measured) -> Provenance:
    """The provenance with the report of a computation."""
    return made.noting(**{name: value.tolist() for name, value in found.notes.items()}) if found.notes else made


def refuse_values(function: Callable[..., Any] | None, options: Mapping[str, Any]) -> None:
    """Refuse a value that an option does not name (`Literal`, bool): it would be taken for one that it does.

    Raises:
        BadOption: With the values that it has.
    """
    hints = get_type_hints(function) if options else {}
    for option, value in options.items():
        allowed = (True, False) if hints[option] is bool else get_args(hints[option])
        if (hints[option] is bool or get_origin(hints[option]) is Literal) and value not in allowed:
            raise BadOption(f"{option}={value!r} is not allowed; {option} is {' or '.join(map(repr, allowed))}.")


def refuse_quantity(aggregation: Aggregation | None, quantity: Any, name: str) -> None:
    """An aggregation that cannot combine these numbers."""
    if aggregation is not None and quantity not in aggregation.accepts:
        allowed = ", ".join(sorted(aggregation.accepts))
        raise WrongQuantity(
            f"{aggregation.name} combines {allowed}; {name} gives {quantity} numbers, whose products over layers "
            "mean nothing. Use aggregation='mean' or 'last', or another method."
        )


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
