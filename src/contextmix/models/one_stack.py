"""How a model of one stack turns an input into maps: all mixing maps in one run, then the whole-model ones, each alone.

The frame around it is in `contextmix.models.stacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from contextmix.errors import BadInput, ContextMixError
from contextmix.models.attribution import masks
from contextmix.models.explain import explained, refuse_query
from contextmix.models.explore import (
    OF_CLASS,
    OF_SCORE,
    OF_WEIGHTS,
    THROUGH_TOWER,
    USUAL,
    USUAL_OF_DECODERS,
    Request,
    for_each_class,
    refuse_idle_target,
)
from contextmix.models.image_tower import ImageTower, refuse_single_blocks
from contextmix.models.loaded_model import own_probe
from contextmix.models.stacks import Stacks
from contextmix.plugins.plan import Plan
from contextmix.results.exploration import Exploration
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.mixing import Channels
from contextmix.tracing.inputs.encode import Inputs, batches, stacked
from contextmix.tracing.inputs.heads import scores_tokens, speaks
from contextmix.tracing.inputs.sources import is_many
from contextmix.tracing.runs.two_stacks import whole_probe


@dataclass(frozen=True)
class OneStack(Stacks[Inputs]):
    """A model of one stack, and how its sources are read.

    Attributes:
        tower: What is asked of the image tower of a prompt; see the option ``tower`` of `TracedModel.explore`.
    """

    tower: str | None = field(default=None, kw_only=True)

    @property
    def usual_if_scored(self) -> Sequence[str]:
        """See `Stacks`."""
        return (OF_CLASS,) if "Classification" in type(self.loaded.model).__name__ else (OF_SCORE,)

    @property
    def usual(self) -> Sequence[str]:
        """See `Stacks`."""
        says = speaks(self.loaded.model) and self.loaded.is_causal
        usual = USUAL_OF_DECODERS if says and self.tower != "alone" else USUAL
        names = usual if self.tower != "through" else THROUGH_TOWER
        return [name for name in names if name not in OF_WEIGHTS] if self._has_other_mixers() else names

    def _has_other_mixers(self) -> bool:
        """Whether some layers are no attention; a model that cannot be read is refused where it is run."""
        try:
            blocks = self.loaded.anatomy().blocks
        except ContextMixError:
            return False
        return any(isinstance(block.mixer, Channels) or block.beside is not None for block in blocks)

    def are_many(self, source: Any) -> bool:
        """See `Stacks`."""
        return is_many(source)

    def read(self, source: Any) -> list[Inputs]:
        """See `LoadedModel.encode`."""
        return self.encoded(source)

    def probe(self, source: Any) -> dict[str, Tensor]:
        """See `Stacks`."""
        if source is None:
            return whole_probe(self.loaded.model, self.loaded.limit)
        return next(batches(self.read(source), 1))[1]

    def depth(self, one: Inputs) -> int:
        """See `Stacks`."""
        return len(self.loaded.anatomy(own_probe(stacked([one]))))

    def rows(self, one: Inputs, plans: Sequence[Plan], query: int | str | None, target: Any) -> Mapping[str, TokenMap]:
        """See `Stacks`; a method of the whole model explains a language model at the token of the row."""
        place = query if scores_tokens(self.loaded.model) else None
        query = self.loaded.usual_query if query is None else query
        place = query if speaks(self.loaded.model) else place
        mixing = [plan for plan in plans if not plan.of_model]
        whole = {plan.name: self.loaded.attribute(one, plan, target, place) for plan in plans if plan.of_model}
        (found,) = explained(self.loaded, [one], mixing, query, [-1]) if mixing else [[]]
        return whole | {plan.name: each.layer(-1) for plan, each in zip(mixing, found, strict=True)}

    def explored(self, one: Inputs, over: Any, asked: Request) -> Exploration:
        """See `Stacks`."""
        if self.tower == "alone":
            return self._explored_tower(one, over, asked)
        maps: dict[str, TokenMap] = {}
        steps = asked.steps
        if asked.mixing:
            (found,) = explained(
                self.loaded, [one], asked.mixing, None, asked.layers, wanted=steps.layer, tell=steps.still
            )
            maps = {plan.name: each for plan, each in zip(asked.mixing, found, strict=True)}
        position = asked.query if scores_tokens(self.loaded.model) else None
        # A target that cannot be explained is refused by the method, not forgotten.
        scored = asked.target is not None or any("prediction" in each.provenance.notes for each in maps.values())
        for plan in asked.whole(scored):
            steps.whole(plan)
            tick = partial(steps.still, plan.name)
            own = partial(self._scored, one, plan, position=position, asked=asked, tick=tick)
            first = own(asked.target)
            maps[plan.name] = first if asked.target is not None else for_each_class(plan, first, own)
        tokens = next(iter(maps.values())).tokens
        row = self._first_query(tokens) if asked.query is None else tokens.position(asked.query)
        if self.tower == "through":
            plans = {plan.name: plan for plan in (*asked.plans, *asked.if_scored)}
            maps = {name: self._tower.through(found, one, plans[name]) for name, found in maps.items()}
        return asked.gathered(maps, row, over)

    def _scored(
        self, one: Inputs, plan: Plan, target: Any, *, position: Any, asked: Request, tick: Callable[[], None]
    ) -> TokenMap:
        return self.loaded.attribute(one, plan, target, position, asked.memory_budget, tick)

    @property
    def _tower(self) -> ImageTower:
        """The image tower of the model, which every `TracedModel` has."""
        model: Any = self.loaded
        found: ImageTower = model.image_tower
        return found

    def _explored_tower(self, one: Inputs, over: Any, asked: Request) -> Exploration:
        """The maps of the image tower by itself."""
        maps = {}
        for plan in asked.plans:
            asked.steps.whole(plan)
            maps[plan.name] = self._tower.alone(one, plan, None, asked.layers)
        tokens = next(iter(maps.values())).tokens
        return asked.gathered(maps, 0 if asked.query is None else tokens.position(asked.query), over)

    def _first_query(self, tokens: Tokens) -> int:
        """The token that is looked at first: the only mask, or the usual one."""
        filled = speaks(self.loaded.model) and not self.loaded.is_causal
        found = masks(self.loaded.tokenizer, tokens) if filled else []
        return found[0] if len(found) == 1 else self.loaded.usual_query % len(tokens)

    def refuse_several(self, inputs: Sequence[Inputs], target: Any) -> None:
        """See `Stacks`."""
        if len(inputs) != 1:
            raise BadInput(f"A comparison is of one text; got {len(inputs)}. Compare them one by one.")

    def refuse_unexplorable(self, plans: Sequence[Plan], target: Any) -> None:
        """See `refuse_idle_target`; and maps of single blocks where they are to go through an image tower."""
        refuse_idle_target(plans, target)
        if self.tower == "through":
            for plan in plans:
                refuse_single_blocks(plan)

    def refuse_query(self, inputs: Sequence[Inputs], query: int | str | None) -> None:
        """See `contextmix.models.explain.refuse_query`."""
        refuse_query(inputs, query)
