"""What was asked for by name: a method, perhaps an aggregation, and the options of both, sorted and refused.

All of it is known from what plug-in files say of themselves, so that a misspelled name is refused at once: no plug-in
is imported, nor torch. `contextmix.plugins.plan` adds the functions that compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from contextmix.errors import BadOption, UnknownName, WrongQuantity
from contextmix.maths.whole import plain
from contextmix.options.fitting import fitted
from contextmix.plugins.contracts import Aggregation, Method, Metric, ModelMethod, Recipe, options_of
from contextmix.plugins.registry import AGGREGATIONS, METHODS, METRICS, as_typed, check_options
from contextmix.results.provenance import Quantity


@dataclass(frozen=True)
class Selection:
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


def selected_to_compare(methods: Sequence[str]) -> list[Selection]:
    """Several methods, each with its defaults.

    Raises:
        UnknownName: If a method does not exist.
        BadOption: If fewer than two are named, or one twice.
    """
    found = [selected(name) for name in methods]
    names = [one.name for one in found]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise BadOption(f"A comparison needs at least two different methods; got {', '.join(names) or 'none'}.")
    return found


def selected(name: str, aggregation: str | None = None, options: Mapping[str, Any] | None = None) -> Selection:
    """Look up what was asked for and sort the options to whom they belong.

    Args:
        name: A method, a recipe, or a method and a way across layers as in ``"norm+rollout"``.
        aggregation: A way across layers; a recipe brings its own.
        options: Options of the method and of the aggregation, by name.

    Returns:
        What was asked for; its functions are stand-ins, see `contextmix.plugins.reading`.

    Raises:
        UnknownName: If a name or an option does not exist; with near misses.
        BadOption: If a recipe is given another aggregation, or an option a value that it does not have.
        WrongQuantity: If the aggregation cannot combine what the method measures.

    Example:
        >>> selected("norm+rollout", options={"normalise": True}).aggregation_options
        {'normalise': True}
    """
    name, plus, way_asked = (name if isinstance(name, str) else repr(name)).partition("+")
    if plus and aggregation is not None:
        raise BadOption(f"{name}+{way_asked} names a way across layers, and aggregation={aggregation!r} another.")
    aggregation = way_asked if plus else aggregation
    asked = METHODS.described(name)
    given: dict[str, Any] = dict(options or {})
    if isinstance(asked, Recipe):
        if aggregation is not None and AGGREGATIONS.described(aggregation).name != asked.aggregation:
            raise BadOption(
                f"{asked.name} is {asked.method} with {asked.aggregation}; with {aggregation} it would be another "
                f"method. Ask for method={asked.method!r}, aggregation={aggregation!r}."
            )
        aggregation = asked.aggregation
        given = {**asked.options, **asked.aggregation_options, **given}
    method = METHODS.described(asked.method) if isinstance(asked, Recipe) else asked
    assert not isinstance(method, Recipe)  # a recipe names a method, never another recipe (contract test)
    way = None if aggregation is None else AGGREGATIONS.described(aggregation)
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
            raise UnknownName(f"option of {asked.name}", option, [*own, *ways] or ["none"])
    found = Selection(
        f"{asked.name}+{way.name}" if plus and way else asked.name,
        method,
        {key: value for key, value in given.items() if key in own},
        way,
        {key: value for key, value in given.items() if key in ways and key not in own},
    )
    refuse_values(formula, found.options)
    refuse_values(way.combine if way else None, found.aggregation_options)
    refuse_quantity(way, found.quantity, method.name)
    return found


def selected_metric(name: str, options: Mapping[str, Any] | None = None) -> Metric:
    """A metric by name, whose options exist and have values that they name; its function is a stand-in.

    Raises:
        UnknownName: If the metric or an option does not exist; with near misses.
        BadOption: If an option has a value that is not allowed.
    """
    found = METRICS.described(name)
    check_options("metric", found.name, found.score, options or {})
    refuse_values(found.score, options or {})
    return found


def quantity_of(method: Method | ModelMethod, options: Mapping[str, Any]) -> Quantity:
    """What the numbers of a method are under these options."""
    return method.quantity if isinstance(method.quantity, Quantity) else method.quantity(options)


def refuse_values(function: Callable[..., Any] | None, options: Mapping[str, Any]) -> None:
    """Refuse a value that an option does not name (`Literal`, bool), or that has another type than the option.

    A name that does not exist would be taken for one that does.

    Raises:
        BadOption: With the values that it has.
    """
    hints = get_type_hints(function) if options else {}
    for option, value in options.items():
        allowed = (True, False) if hints[option] is bool else get_args(hints[option])
        if not (hints[option] is bool or get_origin(hints[option]) is Literal):
            fitted(option, value, hints[option], "Leave it out for the usual one.")
        elif plain(value) not in allowed:
            raise BadOption(f"{option}={value!r:.80} is not allowed; {option} is {' or '.join(map(repr, allowed))}.")


def spelled(names: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several, as plug-ins write them.

    Raises:
        BadOption: If one of them is no text.

    Example:
        >>> spelled("value-zeroing"), spelled(["norm", "alti"])
        (('value_zeroing',), ('norm', 'alti'))
    """
    found = [names] if isinstance(names, str) else names
    for name in found:
        if not isinstance(name, str):
            raise BadOption(f"A method or a metric is named by a text, and {name!r:.80} is a {type(name).__name__}.")
    return tuple(map(as_typed, found))


def refuse_quantity(aggregation: Aggregation | None, quantity: Any, name: str) -> None:
    """An aggregation that cannot combine these numbers."""
    if aggregation is not None and quantity not in aggregation.accepts:
        allowed = ", ".join(sorted(aggregation.accepts))
        raise WrongQuantity(
            f"{aggregation.name} combines {allowed}; {name} gives {quantity} numbers, whose products over layers are "
            f"meaningless. Use aggregation='mean' or 'last', or another method."
        )
