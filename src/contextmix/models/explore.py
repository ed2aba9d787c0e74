"""How a model is explored: which methods fit it, and the steps of the work, told one by one so that it can be ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import numpy as np

from contextmix.errors import BadOption
from contextmix.options.values import Progress
from contextmix.plugins.plan import METHODS, Plan, make_plan
from contextmix.plugins.selection import Selection
from contextmix.results.exploration import Exploration
from contextmix.results.token_map import TokenMap
from contextmix.tokens.media import is_recording
from contextmix.tokens.regions import Regions

USUAL = ("globenc", "alti_rollout", "attention_rollout", "norm_encoder", "attention")
"""What is explored where nothing was named: what one run of the model gives. Value Zeroing takes one per token."""
USUAL_OF_DECODERS = ("evidence", "norm_encoder", "alti", "attention")
"""The same for a model that says what comes next: why it says that, and what single layers mix. No map is multiplied
over layers: in a causal model that moves everything to the first positions."""
OF_WEIGHTS = ("attention", "attention_rollout")
"""Which of them read attention weights: left out for a model with layers that are no attention."""
USUAL_JOINT = ("globenc", "alti_rollout", "alti")
"""The same for an encoder–decoder, whose maps must join."""
THROUGH_TOWER = ("globenc", "alti_rollout", "attention_rollout")
"""The same for maps that go on through an image tower, which goes across all blocks."""
OF_SCORE = "gradient_inputs"
"""What is added for a model with a score to explain: one more run."""
OF_CLASS = "integrated_gradients"
"""What is added for a classifier instead: it has signs, and on a saturated score it finds the words that count, where
gradient_inputs finds noise."""
FOR_AND_AGAINST: Mapping[str, Mapping[str, Any]] = {OF_CLASS: {"steps": 20}}
"""Its options: fewer steps than by default, as someone waits; its completeness error tells what that costs."""

FEW_CLASSES = 5
"""Most classes that are all explained, so that a reader can switch between them: one more run for each."""


def plans_to_explore(
    methods: Sequence[str], heads: bool, options: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Plan]:
    """The plans of the methods to explore, each head by itself where it was asked for and the method can.

    Args:
        methods: Names of recipes, mixing maps or methods of the whole model.
        heads: Whether heads are kept apart.
        options: Method → its options.

    Raises:
        UnknownName: If a method or an option does not exist.
        BadOption: If no method is named, one twice, options are those of another, or no method keeps heads apart.

    Example:
        >>> [plan.options for plan in plans_to_explore(["attention", "globenc"], heads=True)]
        [{'heads': 'each'}, {}]
    """
    options = options or {}
    named = isinstance(methods, list | tuple) and all(isinstance(name, str) for name in methods)
    if not named or not methods or len(set(methods)) < len(methods):
        raise BadOption(f"Methods to explore must be a list of different names; got {methods!r:.200}.")
    for name in options.keys() - set(methods):
        raise BadOption(f"There are options for {name!r}, which is not explored: {', '.join(methods)}.")
    plans = [make_plan(name, None, options.get(name)) for name in methods]
    if not heads:
        return plans
    if not any(map(_keeps_heads, plans)):
        able = [name for name in METHODS if _keeps_heads(make_plan(name))]
        raise BadOption(
            f"heads=True shows heads separately, but none of {', '.join(methods)} can do that. These can: "
            f"{', '.join(able)}."
        )
    return [
        make_plan(plan.name, None, {"heads": "each", **options.get(plan.name, {})}) if _keeps_heads(plan) else plan
        for plan in plans
    ]


def plans_if_scored(names: Sequence[str]) -> list[Plan]:
    """The plans that are added where nobody chose and the model has a score to explain.

    Example:
        >>> [plan.options for plan in plans_if_scored(["integrated_gradients"])]
        [{'steps': 20}]
    """
    return [make_plan(name, None, FOR_AND_AGAINST.get(name)) for name in names]


def refuse_idle_target(plans: Sequence[Plan], target: Any) -> None:
    """A target that no method explains.

    Raises:
        BadOption: With what would.
    """
    if target is not None and not any(plan.of_model for plan in plans):
        names = ", ".join(plan.name for plan in plans)
        raise BadOption(
            f"target={target!r} names a score, and {names} explain what a token's representation is made of. Leave it "
            "out, or add a method such as gradient_inputs."
        )


def about(plans: Sequence[Selection]) -> dict[str, tuple[str, str]]:
    """Name → formula and paper in short, as the registry has them."""
    named = {plan.name: plan.name if plan.name in METHODS.names else plan.method.name for plan in plans}
    found = {name: METHODS.described(own) for name, own in named.items()}
    return {name: (one.formula, one.paper.short) for name, one in found.items()}


def for_each_class(plan: Plan, first: TokenMap, explain: Callable[[str], TokenMap]) -> TokenMap:
    """What speaks for and against each class of a model that tells few apart, (target, key); else the first map.

    Args:
        plan: The method. Others than those of `FOR_AND_AGAINST` explain the one class that was asked for.
        first: Its map of the predicted class.
        explain: Its map of a class by its name.
    """
    names = first.targets or ()
    few = 1 < len(names) <= FEW_CLASSES and len(set(names)) == len(names)
    if not few or first.dims != ("key",) or plan.options != FOR_AND_AGAINST.get(plan.name):
        return first
    own = str(first.provenance.notes["target"])
    values = np.stack([(first if name == own else explain(name)).values for name in names])
    notes = {name: note for name, note in first.provenance.notes.items() if name != "target"}
    made = first.provenance.derive(notes=notes)
    return TokenMap(values, ("target", "key"), first.tokens, first.quantity, made, targets=names)


class Steps:
    """Counts a method on a layer as one step, and tells each before it is done.

    Args:
        methods: How many there will be, over all inputs.
        depth: Blocks of the model.
        told: Whom to tell; None for nobody.

    Example:
        >>> steps = Steps(2, 1, lambda done, what: print(f"{done:.0%} {what}"))
        >>> steps.layer(make_plan("attention"), 0)
        0% attention, layer 1 of 1
        True
        >>> steps.whole(make_plan("gradient"))
        50% gradient
        >>> steps.end()
        100% done
    """

    def __init__(self, methods: int, depth: int, told: Progress | None) -> None:
        self._depth, self._total, self._told, self._done = depth, methods * depth, told, 0

    def layer(self, plan: Plan, index: int) -> bool:
        """A mixing map of one layer comes next; always True, as every layer is wanted."""
        self.still(f"{plan.name}, layer {index + 1} of {self._depth}")
        self._done += 1
        return True

    def whole(self, plan: Plan) -> None:
        """A method of the whole model comes next."""
        self.still(plan.name)
        self._done += self._depth

    def still(self, what: str) -> None:
        """The step that has begun goes on."""
        if self._told is not None:
            self._told(self._done / self._total, what)

    def end(self) -> None:
        """All is done."""
        self._done = self._total
        self.still("done")


@dataclass(frozen=True)
class Request:
    """What `TracedModel.explore` was asked for.

    Attributes:
        plans: The methods.
        if_scored: Methods of the whole model to add if the model turns out to say something.
        query: The token that is looked at first.
        target: The score to explain.
        layers: Blocks to keep.
        memory_budget: Bytes that a method of the whole model may use.
        steps: Whom to tell.
    """

    plans: Sequence[Plan]
    if_scored: Sequence[Plan]
    query: int | str | None
    target: Any
    layers: Any
    memory_budget: int
    steps: Steps

    @property
    def mixing(self) -> list[Plan]:
        """Mixing maps and recipes, which one run serves."""
        return [plan for plan in self.plans if not plan.of_model]

    def whole(self, scored: bool) -> list[Plan]:
        """Methods of the whole model, given whether the model has a score to explain."""
        return [*(plan for plan in self.plans if plan.of_model), *(self.if_scored if scored else ())]

    def gathered(self, maps: Mapping[str, TokenMap], row: int, over: Any) -> Exploration:
        """The maps in the order that was asked for; an image or a sound only where tokens have places in it."""
        plans = [plan for plan in self._in_order(maps) if plan.name in maps]
        places = maps[plans[0].name].tokens.places
        own = is_recording(over) or not isinstance(over, Mapping)
        prompt = isinstance(places, Regions) and not (isinstance(over, Mapping) and "input_ids" in over)
        placed = prompt or (places is not None and own)
        return Exploration({plan.name: maps[plan.name] for plan in plans}, row, about(plans), over if placed else None)

    def _in_order(self, maps: Mapping[str, TokenMap]) -> Sequence[Plan]:
        """A classifier is first asked why it says its class."""
        first = any(_says_a_class(one) for one in maps.values())
        return (*self.if_scored, *self.plans) if first else (*self.plans, *self.if_scored)


def _says_a_class(found: TokenMap) -> bool:
    """Whether a model tells classes apart, and does not say a word at some place."""
    said = found.provenance.notes.get("prediction") or {}
    return bool(said) and not {"after", "at"} & said.keys()


def _keeps_heads(plan: Plan) -> bool:
    if plan.of_model or plan.aggregation is not None:
        return False
    return "each" in get_args(get_type_hints(plan.method.measure).get("heads"))  # type: ignore[union-attr]
