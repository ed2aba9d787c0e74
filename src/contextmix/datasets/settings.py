"""What a run is asked for: everything beside the data and the model that decides its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from contextmix.errors import BadOption
from contextmix.plan import Plan, layer_numbers, make_plan
from contextmix.tracing.targets import Asked

SHARD_SIZE = 1024
"""Rows per shard, unless told otherwise."""
GOLD = "gold"
"""The target that stands for the label of each row."""


@dataclass(frozen=True)
class Settings:
    """What is measured of each text.

    Attributes:
        methods: Names of recipes, mixing maps or methods of the whole model.
        options: Method → its options.
        query: The token whose row is kept, by text or position; None for the first one, or the last of a causal model.
            Of a language model also the one whose score methods of the whole model explain.
        target: What methods of the whole model explain, as for `TracedModel.explain`; ``"gold"`` for each row's label.
        layers: Blocks to keep, or ``"all"``; None for the last one.
        words: Whether sub-words are merged.
        maps: Whether the whole (query, key) maps are kept too.
        truncate: Whether texts that are too long are cut; otherwise they are recorded as failures.
        shard_size: Rows of the data per shard: what is bucketed together, and what is written together.
    """

    methods: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    query: int | str | None = None
    target: Asked = None
    layers: Any = None
    words: bool = False
    maps: bool = False
    truncate: bool = False
    shard_size: int = SHARD_SIZE

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise BadOption(f"A run needs one or more different methods; got {', '.join(self.methods) or 'none'}.")
        for name in self.options:
            if name not in self.methods:
                raise BadOption(f"Options were given for {name}, which is not among the methods of this run.")
        if not isinstance(self.shard_size, int) or self.shard_size < 1:
            raise BadOption(f"shard_size={self.shard_size!r} is a number of rows, at least 1.")
        if isinstance(self.query, bool) or not isinstance(self.query, int | str | None):
            raise BadOption(f"query={self.query!r} is a token by its text or its position.")
        self._refuse_unused()

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """What each method does; options are checked here."""
        return tuple(make_plan(name, None, self.options.get(name)) for name in self.methods)

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
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The inverse of `to_dict`."""
        known = dict(values)
        methods = known.pop("methods")
        target = tuple(known["target"]) if isinstance(known["target"], list) else known["target"]
        options = {name: chosen for name, chosen in methods.items() if chosen}
        return cls(tuple(methods), options, **{**known, "target": target})

    def _refuse_unused(self) -> None:
        """An option that would change nothing is a mistake, and is told before the work."""
        whole = [plan.name for plan in self.plans if plan.of_model]
        if self.target is not None and not whole:
            raise BadOption(
                f"target={self.target!r} means nothing to {', '.join(self.methods)}: they explain what a token's "
                "representation is made of, not a score. Leave it out, or add a method such as gradient_inputs."
            )
        if len(whole) == len(self.plans):
            for name, value in {"layers": self.layers, "maps": self.maps or None}.items():
                if value is not None:
                    raise BadOption(
                        f"{', '.join(whole)} give one number per token, for one score: there are no {name} to choose. "
                        f"Leave {name}={value!r} out."
                    )
