"""What a plug-in file promises: the constants `METHOD`, `AGGREGATION` and `METRIC`.

A file in ``methods/`` exports one constant ``METHOD`` (a `Method`, or a `Recipe` that names a method and an
aggregation), a file in ``aggregations/`` one constant ``AGGREGATION``, a file in ``metrics/`` one ``METRIC``. Finding
the file is all the registration there is. Options are the keyword-only parameters of the function itself, so they are
written once. The constant is written out of what this file and `papers` hold, texts, numbers, and functions of its own
file: so it can be read without running the file (`contextmix.plugins.reading`). Torch is imported here for types alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from contextmix.plugins.papers import Paper
from contextmix.results.provenance import Quantity

if TYPE_CHECKING:
    from torch import Tensor

    from contextmix.traces.trace import LayerTrace


@dataclass(frozen=True)
class Measured:
    """A map with a report on its computation, for methods that have one to give.

    Attributes:
        values: (..., query, key).
        notes: Name → tensor with the same leading axes as ``values`` (a batch, or none): what the provenance of the
            result will say for each layer, such as the number of zero rows, ranks, or the error of an approximation.
            A method of the whole model may also say in a word what it chose.
        checks: Of a method of the whole model: name → relative error of a check by which the numbers prove themselves.
            Nothing where no check fits: what was not checked has no error, not even zero.
    """

    values: Tensor
    notes: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class QuantityBy:
    """What the numbers are, where an option decides it.

    Attributes:
        option: Its name.
        values: Its value → what the numbers are then.
        otherwise: What they are for every other value, and where the option is left out.

    Example:
        >>> kind = QuantityBy("normalise", {False: Quantity.NORM}, otherwise=Quantity.SHARE)
        >>> kind({}), kind({"normalise": False})
        (<Quantity.SHARE: 'share'>, <Quantity.NORM: 'norm'>)
    """

    option: str
    values: Mapping[Any, Quantity]
    otherwise: Quantity

    def __call__(self, options: Mapping[str, Any]) -> Quantity:
        """What the numbers are under these options."""
        return self.values.get(options.get(self.option), self.otherwise)


@dataclass(frozen=True)
class Method:
    """A mixing map: one matrix per layer.

    Attributes:
        name: What users type; also the name of the file.
        title: The name as people know it, for tables, figures and pages; see `plugins.titles`.
        measure: ``measure(layer, *, options…) -> (..., query, key)``, or a `Measured`.
        quantity: What the numbers are; a `QuantityBy` where an option decides it.
        formula: One line, in the symbols of the docs.
        paper: Source.
        cost: Time per layer in words a reader can compare.
        needs: What must be there beside a trace, for people: ``"none"``, ``"gradients"``.
        ratio: ``ratio(layer) -> (..., query)``: how much each row mixes, where the method defines it.
        decoder: What it measures in the two steps of an encoder–decoder's decoder block, self-attention and then
            cross-attention (``layer.cross``), whose keys are another sequence's; None: nothing, so it is refused there.
            ``"attention"``: what attention moves, without the residual stream, so that steps cannot be joined.
            ``"stream"``: the residual stream; a cross map has the residual as its last column, and the steps multiply.
            ``"output"``: the output of the whole block in both steps, whose rows stand side by side, before the option
            ``normalise`` divides them.
        asks: What it tells: what a ``"vector"`` is made of, or where ``"attention"`` looks.
        by_rows: Whether the rows of a block of queries can be measured by themselves: they depend on nothing but these
            rows and the values of the keys, and what is noted is a count of rows. Long inputs are measured so.
        row: ``row(layer, query, *, options…) -> (1, key)``, or a `Measured`, of one sequence: one row of what
            ``measure`` gives, where it costs less than all of them.
    """

    name: str
    measure: Callable[..., Tensor | Measured]
    quantity: Quantity | QuantityBy
    formula: str
    paper: Paper
    cost: str
    needs: str = "none"
    ratio: Callable[[LayerTrace], Tensor] | None = None
    decoder: Literal["attention", "stream", "output"] | None = None
    title: str = ""
    asks: Literal["vector", "attention"] = "vector"
    by_rows: bool = False
    row: Callable[..., Tensor | Measured] | None = None


@dataclass(frozen=True)
class ModelMethod:
    """An attribution of one output of the whole model, which must be run again for it.

    Attributes:
        name: What users type; also the name of the file.
        title: The name as people know it, for tables, figures and pages; see `plugins.titles`.
        attribute: ``attribute(run, *, options…)`` with a `ModelRun`: (key,), (target, key), or a `Measured` of these.
        quantity: What the numbers are; a `QuantityBy` where an option decides it.
        formula: One line, in the symbols of the docs.
        paper: Source.
        cost: Time in words a reader can compare.
        needs: What must be there, for people, such as ``"a classification head"``.
        steps: ``steps(run, *, options…)`` with a `SpanRun`: what made each of several neighbouring tokens, (row, key),
            in one run of the model, with the options of ``attribute``; None where each token takes a run of its own.
        reads: What ``steps`` asks of a `SpanRun`: its ``"rows"``, which a decoder with cross-attention has too, all
            rows of its ``"blocks"``, or the ``"gradients"`` of its scores.
        together: How several tokens that follow each other are explained as one: as the one ``"score"`` of a run, the
            sum of their log-probabilities, or by the ``"sum"`` of what explains each of them.
    """

    name: str
    attribute: Callable[..., Tensor | Measured]
    quantity: Quantity | QuantityBy
    formula: str
    paper: Paper
    cost: str
    needs: str
    steps: Callable[..., Tensor | Measured] | None = None
    together: Literal["score", "sum"] = "sum"
    reads: Literal["rows", "blocks", "gradients"] = "rows"
    title: str = ""


@dataclass(frozen=True)
class Aggregation:
    """A way from one map per layer to one attribution.

    Attributes:
        name: What users type; also the name of the file.
        title: The name as people know it, for tables, figures and pages; see `plugins.titles`.
        combine: ``combine(maps, *, options…)``: (layer, query, key) → the same, where entry l is the attribution up to
            layer l. float64 in, float64 out.
        combine_row: The same for one query, (layer, query, key) and a position → (key,) of the last layer, cheaper.
        accepts: Quantities that it can combine.
        formula: One line.
        paper: Source.
        cost: In words.
        exceeds: Whether rows of combined shares may sum to more than one; they are then divided by their sum.
        carry: ``carry(weights, maps, *, options…)``: rows over the queries of one layer, (row, query), taken down
            through that layer's map (query, key) to (row, key), in float64, so that no map has to be there as a whole;
            None where layers do not combine so.
        alike: Whether a combined row is made of the same row of each map, so that ``combine`` may be given no others.
    """

    name: str
    combine: Callable[..., Tensor | Measured]
    combine_row: Callable[..., Tensor | Measured]
    accepts: frozenset[Quantity]
    formula: str
    paper: Paper
    cost: str
    exceeds: bool = False
    title: str = ""
    carry: Callable[..., Tensor] | None = None
    alike: bool = False


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
    title: str = ""


@dataclass(frozen=True)
class Scored:
    """What a metric says of one example.

    Attributes:
        value: The number; None where the metric is not defined for this example, never NaN.
        reason: Why it is not defined, such as ``"constant scores"``; examples are counted by it.
        curve: Name of a step → value, for metrics that average over steps.
    """

    value: float | None
    reason: str = ""
    curve: Mapping[str, float] = field(default_factory=dict)


Predict = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Which tokens are kept (variant, token) → probabilities (variant, class). Whoever makes it decides what stands in the
place of a token that is not kept: the mask, another token, or nothing."""


@dataclass(frozen=True)
class Metric:
    """A number that says how good the scores of one example are.

    Attributes:
        name: What users type; also the name of the file.
        title: The name as people know it, for tables, figures and pages; see `plugins.titles`.
        score: What it needs depends on ``against``; all arrays have one entry per token, (token,), and finite numbers:
            `contextmix.plugins.scoring.score` checks them first.
            ``"reference"``: ``score(scores, reference, *, options…)``, with scores of another method or model.
            ``"rationale"``: ``score(scores, rationale, *, options…)``, with True for the tokens that people marked.
            ``"model"``: ``score(scores, predict, removable, *, options…)``, with a `Predict` and True for the tokens
            that may be taken away (no special ones).
        against: What the scores are compared with.
        higher_is_better: Whether a larger number is the better one, unless an option turns it round.
        formula: One line.
        paper: Source.
        cost: In words; for ``"model"`` in runs of the model.
        bounds: The smallest and the largest number that can come out; None where there is no bound.
        turned_by: Options with the value that turns ``higher_is_better`` round, such as taking the least important
            tokens away first.
        removal: What stands in the place of a token that is taken away, where the metric is defined by it; empty where
            it is the choice of whoever makes the `Predict`.
    """

    name: str
    score: Callable[..., Scored]
    against: Literal["reference", "rationale", "model"]
    higher_is_better: bool
    formula: str
    paper: Paper
    cost: str
    bounds: tuple[float | None, float | None] = (None, None)
    turned_by: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    removal: str = ""

    def prefers_higher(self, options: Mapping[str, Any]) -> bool:
        """Whether a larger number is the better one under these options."""
        turned = any(options.get(name, None) == value for name, value in self.turned_by.items())
        return self.higher_is_better != turned

    def better(self, options: Mapping[str, Any]) -> str:
        """Which numbers are better under these options, as people write it."""
        return "higher" if self.prefers_higher(options) else "lower"


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named options of a plug-in: its keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
