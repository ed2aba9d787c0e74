"""The frame of `compare` and `explore`, for models of one stack and of two.

They differ in how one input becomes maps. All else is the same, and stands here: the plans, what is refused and when,
the steps that are told, and how the maps are gathered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor

from contextmix.models.explore import Request, Steps, plans_if_scored, plans_to_explore
from contextmix.models.loaded_model import LoadedModel
from contextmix.plugins.plan import Plan, plans_to_compare
from contextmix.results.comparison import Comparison
from contextmix.results.exploration import Exploration
from contextmix.results.token_map import TokenMap
from contextmix.tracing.inputs.encode import Inputs

One = TypeVar("One")
"""One input as the model reads it."""


@dataclass(frozen=True)
class Stacks(ABC, Generic[One]):
    """How a kind of model turns inputs into maps.

    Attributes:
        loaded: The model.
        truncate: Cut sources that are too long instead of refusing them.
        sampling_rate: Samples per second, for a sound that does not say it.
        add_special_tokens: Whether the tokenizer adds its special tokens; None: unless the text holds them.
    """

    loaded: LoadedModel
    truncate: bool = False
    sampling_rate: int | None = None
    add_special_tokens: bool | None = field(default=None, kw_only=True)

    # The frame -------------------------------------------------------------------------------------------------------

    def compare(self, source: Any, methods: Sequence[str], query: int | str | None, target: Any) -> Comparison:
        """See `TracedModel.compare`."""
        plans = plans_to_compare(methods)
        self.refuse_incomparable(plans)
        inputs = self.read(source)
        self.refuse_several(inputs, target)
        rows = self.rows(inputs[0], plans, query, target)
        return Comparison({plan.name: rows[plan.name] for plan in plans})

    def explore(self, source: Any, methods: Sequence[str] | None, options: Mapping[str, Any]) -> Any:
        """See `TracedModel.explore`; the options are those of `contextmix.options.verbs.ExploreOptions`."""
        heads, query, target = (options[name] for name in ("heads", "query", "target"))
        self.refuse_question(heads, target)
        plans = plans_to_explore(self.usual if methods is None else methods, heads, options["options"])
        if_scored = plans_if_scored(self.usual_if_scored) if methods is None else []
        self.refuse_unexplorable([*plans, *if_scored], target)
        inputs = self.read(source)
        self.refuse_query(inputs, query)
        steps = Steps(len(inputs) * len([*plans, *if_scored]), self.depth(inputs[0]), options["progress"])
        asked = Request(plans, if_scored, query, target, options["layers"], options["memory_budget"], steps)
        overs = self._overs(source, len(inputs))
        found = [self.explored(one, over, asked) for one, over in zip(inputs, overs, strict=True)]
        steps.end()
        return self.one_or_all(source, found)

    def one_or_all(self, source: Any, found: Sequence[Any]) -> Any:
        """The results of a list of sources, or the result of the only one."""
        return found if self.are_many(source) else found[0]

    def _overs(self, source: Any, count: int) -> Sequence[Any]:
        """What each input was made of; nobody can see the rows of a batch of model inputs one by one."""
        if not self.are_many(source):
            return [source]
        return [None] * count if isinstance(source, Mapping) else source

    def encoded(self, source: Any) -> list[Inputs]:
        """See `LoadedModel.encode`."""
        how: Any = {"truncate": self.truncate, "sampling_rate": self.sampling_rate}
        return self.loaded.encode(source, **how, add_special_tokens=self.add_special_tokens)

    @property
    def usual_if_scored(self) -> Sequence[str]:
        """What is added if the model turns out to have a score to explain."""
        return ()

    # The steps that differ -------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def usual(self) -> Sequence[str]:
        """What is explained where nothing was named."""

    @abstractmethod
    def are_many(self, source: Any) -> bool:
        """Whether a source is several, so that the result is a list."""

    @abstractmethod
    def read(self, source: Any) -> list[One]:
        """The inputs of a source, in order."""

    @abstractmethod
    def probe(self, source: Any) -> dict[str, Tensor]:
        """All that the model reads of a source, or of a short probe for None, with a batch axis of one."""

    @abstractmethod
    def depth(self, one: One) -> int:
        """How many blocks a mixing map is measured in."""

    @abstractmethod
    def rows(self, one: One, plans: Sequence[Plan], query: int | str | None, target: Any) -> Mapping[str, TokenMap]:
        """The row of one token by each plan, by its name."""

    @abstractmethod
    def explored(self, one: One, over: Any, asked: Request) -> Exploration:
        """The maps of one input, which was made of the image or sound ``over``."""

    # What is refused before the work ---------------------------------------------------------------------------------

    def refuse_incomparable(self, plans: Sequence[Plan]) -> None:
        """Plans that this kind of model cannot compare."""

    @abstractmethod
    def refuse_several(self, inputs: Sequence[One], target: Any) -> None:
        """More than one input to compare methods on."""

    def refuse_question(self, heads: bool, target: Any) -> None:
        """What this kind of model is never asked for."""

    @abstractmethod
    def refuse_unexplorable(self, plans: Sequence[Plan], target: Any) -> None:
        """Plans that this kind of model cannot explore, or that explain no target."""

    @abstractmethod
    def refuse_query(self, inputs: Sequence[One], query: int | str | None) -> None:
        """A query that is not there."""
