"""What a run is asked for: everything beside the data and the model that decides its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, get_args

from contextmix.datasets.storage.table import FIELDS
from contextmix.errors import BadOption
from contextmix.maths.whole import whole_number
from contextmix.options.asked import plain_layers, plain_target
from contextmix.options.values import REFERENCE, SHARD_SIZE, Asked, Removal
from contextmix.plugins.contracts import Metric
from contextmix.plugins.own import is_own, plan_of
from contextmix.plugins.plan import Plan, layer_numbers
from contextmix.plugins.scoring import METRICS
from contextmix.plugins.selection import selected_metric

GOLD = "gold"
"""The target that stands for the label of each row."""

RANDOMISED = "randomised_weights"
"""The metric whose reference is the same method on the model with random weights."""


@dataclass(frozen=True)
class Settings:
    """What is measured of each text: the options of `contextmix.run` of the same names, with all names spelled out."""

    task: ClassVar[str] = "explain"

    methods: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    query: int | str | None = None
    target: Asked = None
    layers: Any = None
    words: bool = False
    maps: bool = False
    truncate: bool = False
    shard_size: int = SHARD_SIZE
    metrics: tuple[str, ...] = ()
    metric_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: str = REFERENCE
    removal: Removal = "mask"
    seed: int = 0
    randomised_rows: int | None = None
    add_special_tokens: bool | None = None

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise BadOption(f"A run needs one or more different methods; got {', '.join(self.methods) or 'none'}.")
        for name in self.options:
            if name not in self.methods:
                raise BadOption(f"Got options for {name}, which is not among the methods of this run.")
        for name in self.functions:
            if name in {each.name for each in FIELDS}:
                raise BadOption(f"Your function is called {name}, as a column of every run is. Rename it.")
        if not isinstance(self.shard_size, int) or self.shard_size < 1:
            raise BadOption(f"shard_size={self.shard_size!r} must be a number of rows, at least 1.")
        object.__setattr__(self, "target", plain_target(self.target))
        object.__setattr__(self, "layers", plain_layers(self.layers))
        query = whole_number(self.query)
        object.__setattr__(self, "query", self.query if query is None else query)
        if isinstance(self.query, bool) or not isinstance(self.query, int | str | None):
            raise BadOption(f"query={self.query!r} must be a token, by text or position.")
        self._refuse_unused()
        if self.metrics or self.metric_options:
            self._refuse_metrics()

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """What each method does; options are checked here."""
        return tuple(plan_of(name, self.options.get(name)) for name in self.methods)

    @property
    def functions(self) -> tuple[str, ...]:
        """The methods that are functions of the user."""
        return tuple(name for name in self.methods if is_own(self.options.get(name)))

    @cached_property
    def judges(self) -> tuple[Metric, ...]:
        """The metrics."""
        return tuple(METRICS[name] for name in self.metrics)

    @property
    def metric_columns(self) -> tuple[str, ...]:
        """The columns of the metrics, ``metric:method``."""
        return tuple(f"{metric}:{method}" for metric in self.metrics for method in self.methods)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table."""
        return (*(each.name for each in FIELDS), *self.methods, *self.metric_columns)

    def needs(self, against: str) -> bool:
        """Whether a metric compares with this: ``"reference"`` (of another method), ``"rationale"``, ``"model"``."""
        return any(one.against == against and one.name != RANDOMISED for one in self.judges)

    def is_randomised(self, row: int) -> bool:
        """Whether a row is explained with random weights too."""
        return RANDOMISED in self.metrics and (self.randomised_rows is None or row < self.randomised_rows)

    def shown(self, plan: Plan, count: int) -> list[int]:
        """The blocks of which a plan keeps rows, of a model of ``count`` blocks; a plan without layers has none."""
        return [] if plan.of_model else layer_numbers(self.layers, count, everything=False)

    def wants(self, plan: Plan, layer: int, count: int) -> bool:
        """Whether a plan needs a block: an aggregation reads all of them."""
        return plan.aggregation is not None or layer in self.shown(plan, count)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        target = list(self.target) if isinstance(self.target, tuple) else self.target
        layers = list(self.layers) if isinstance(self.layers, Sequence) and self.layers != "all" else self.layers
        return {
            "methods": {name: dict(self.options.get(name, {})) for name in self.methods},
            "query": self.query,
            "target": target,
            "layers": layers,
            "words": self.words,
            "maps": self.maps,
            "truncate": self.truncate,
            "shard_size": self.shard_size,
            "metrics": {name: dict(self.metric_options.get(name, {})) for name in self.metrics},
            "reference": self.reference,
            "removal": self.removal,
            "seed": self.seed,
            "randomised_rows": self.randomised_rows,
            "add_special_tokens": self.add_special_tokens,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The inverse of `to_dict`."""
        known = dict(values)
        methods, metrics = known.pop("methods"), known.pop("metrics", {})
        target = tuple(known["target"]) if isinstance(known["target"], list) else known["target"]
        options = {name: chosen for name, chosen in methods.items() if chosen}
        own = {name: chosen for name, chosen in metrics.items() if chosen}
        rest = {**known, "target": target, "metrics": tuple(metrics), "metric_options": own}
        return cls(tuple(methods), options, **rest)

    def _refuse_unused(self) -> None:
        """An option that would change nothing is a mistake, and is told before the work."""
        whole = [plan.name for plan in self.plans if plan.of_model]
        if self.target is not None and not whole:
            raise BadOption(
                f"target={self.target!r} has no effect on {', '.join(self.methods)}: they explain what a token's "
                f"representation is made of, not a score. Leave it out, or add a method such as gradient_inputs."
            )
        if len(whole) == len(self.plans):
            for name, value in {"layers": self.layers, "maps": self.maps or None}.items():
                if value is not None:
                    raise BadOption(
                        f"{', '.join(whole)} give one number per token, for one score: there are no {name} to choose. "
                        f"Leave {name}={value!r} out."
                    )

    def _refuse_metrics(self) -> None:
        """What no metric can be computed of, and options that no metric takes."""
        if len(set(self.metrics)) < len(self.metrics):
            raise BadOption(f"List each metric once; got {', '.join(self.metrics)}.")
        for one in self.judges:
            selected_metric(one.name, self.metric_options.get(one.name))
        if self.randomised_rows is not None and (RANDOMISED not in self.metrics or self.randomised_rows < 1):
            raise BadOption(
                f"randomised_rows={self.randomised_rows!r} must be a number of rows, at least 1, and applies only to "
                f"{RANDOMISED} only."
            )
        if self.removal not in get_args(Removal):
            raise BadOption(f"removal={self.removal!r} is not one of {', '.join(get_args(Removal))}.")
        for name in self.metric_options:
            if name not in self.metrics:
                raise BadOption(f"Got options for {name}, which is not among the metrics of this run.")
        if self.needs("reference") and self.reference not in self.methods:
            raise BadOption(f"The reference {self.reference} is not among the methods of this run. Add it to them.")
        several = [plan.name for plan in self.plans if plan.options.get("heads") == "each"]
        asked = {"layers": self.layers, "words": self.words or None, "heads='each' of": ", ".join(several) or None}
        asked["target"] = "all" if self.target == "all" else None
        for name, value in asked.items():
            if value is not None:
                raise BadOption(
                    f"A metric reads one number per token, and {name}={value!r} gives others. Leave it out of a run "
                    f"with metrics ({', '.join(self.metrics)}), or the metrics out of this one."
                )
