"""What a plug-in file promises: the constants `METHOD` and `AGGREGATION`.

A file in ``methods/`` exports one constant ``METHOD`` (a `Method`, or a `Recipe` that names a method and an
aggregation), a file in ``aggregations/`` one constant ``AGGREGATION``. Finding the file is all the registration there
is. Options are the keyword-only parameters of the function itself, so they are written once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from contextmix.papers import Paper
from contextmix.tokenmap import Quantity
from contextmix.trace import LayerTrace


@dataclass(frozen=True)
class Measured:
    """A map with a report on its computation, for methods that have one to give.

    Attributes:
        values: (..., query, key).
        notes: Name → tensor with the same leading axes as ``values`` (a batch, or none): what the provenance of the
            result will say for each layer, such as the number of zero rows, ranks, or the error of an approximation.
    """

    values: Tensor
    notes: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A mixing map: one matrix per layer.

    Attributes:
        name: What users type; also the name of the file.
        measure: ``measure(layer, *, options…) -> (..., query, key)``, or a `Measured`.
        quantity: What the numbers are; a function of the options where they decide it.
        formula: One line, in the symbols of the docs.
        paper: Source.
        cost: Time per layer in words a reader can compare.
        needs: What must be there beside a trace, for people: ``"nothing more"``, ``"gradients"``.
        ratio: ``ratio(layer) -> (..., query)``: how much each row mixes, where the method defines it.
        decoder: What it measures in the two steps of an encoder–decoder's decoder block, self-attention and then
            cross-attention (``layer.cross``), whose keys are another sequence's; None: nothing, so it is refused there.
            ``"attention"``: what attention moves, without the residual stream, so that steps cannot be joined.
            ``"stream"``: the residual stream; a cross map has the residual as its last column, and the steps multiply.
            ``"output"``: the output of the whole block in both steps, whose rows stand side by side, before the option
            ``normalise`` divides them.
    """

    name: str
    measure: Callable[..., Tensor | Measured]
    quantity: Quantity | Callable[[Mapping[str, Any]], Quantity]
    formula: str
    paper: Paper
    cost: str
    needs: str = "nothing more"
    ratio: Callable[[LayerTrace], Tensor] | None = None
    decoder: Literal["attention", "stream", "output"] | None = None


@dataclass(frozen=True)
class ModelMethod:
    """An attribution of one output of the whole model, which must be run again for it.

    Attributes:
        name: What users type; also the name of the file.
        attribute: ``attribute(run, *, options…)`` with a `ModelRun`: (key,), (target, key), or a `Measured` of these.
        quantity: What the numbers are; a function of the options where they decide it.
        formula: One line, in the symbols of the docs.
        paper: Source.
        cost: Time in words a reader can compare.
        needs: What must be there, for people, such as ``"a classification head"``.
    """

    name: str
    attribute: Callable[..., Tensor | Measured]
    quantity: Quantity | Callable[[Mapping[str, Any]], Quantity]
    formula: str
    paper: Paper
    cost: str
    needs: str


@dataclass(frozen=True)
class Aggregation:
    """A way from one map per layer to one attribution.

    Attributes:
        name: What users type; also the name of the file.
        combine: ``combine(maps, *, options…)``: (layer, query, key) → the same, where entry l is the attribution up to
            layer l. float64 in, float64 out.
        combine_row: The same for one query, (layer, query, key) and a position → (key,) of the last layer, cheaper.
        accepts: Quantities that it can combine.
        formula: One line.
        paper: Source.
        cost: In words.
    """

    name: str
    combine: Callable[..., Tensor | Measured]
    combine_row: Callable[..., Tensor | Measured]
    accepts: frozenset[Quantity]
    formula: str
    paper: Paper
    cost: str


@dataclass(frozen=True)
class Recipe:
    """A method and an aggregation under the name that a paper gave to them together."""

    name: str
    method: str
    aggregation: str
    formula: str
    paper: Paper
    cost: str
    options: Mapping[str, Any] = field(default_factory=dict)
    aggregation_options: Mapping[str, Any] = field(default_factory=dict)


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named options of a plug-in: its keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
