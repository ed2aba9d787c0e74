"""TracedTowers: a model of two towers, of which each source is explained by the tower that reads it.

The towers are in `contextmix.models.tower`; what they are, and how they are found, in
`contextmix.tracing.inputs.towers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from transformers import ProcessorMixin

from contextmix.errors import BadInput, BadOption, refuse_entries, refuse_kind
from contextmix.maths.kept import kept
from contextmix.models.batch import BatchMaps, Wanted
from contextmix.models.check import CheckReport
from contextmix.models.explore import refuse_idle_target
from contextmix.models.loaded_model import refuse_tensors
from contextmix.models.tower import TracedTower, by_towers, others_of
from contextmix.models.traced_model import TracedModel
from contextmix.options.catalogue import (
    ExploredMethods,
    MethodName,
    MethodNames,
)
from contextmix.plugins.plan import Plan, make_plan
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.checks import Checks
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.kind import KINDS
from contextmix.tracing.inputs.sources import is_list
from contextmix.tracing.inputs.towers import TEXT, towers_of
from contextmix.tracing.recording.modes import undisturbed
from contextmix.tracing.runs.apart import refuse_joined
from contextmix.tracing.runs.side import Scale, own_scale


class TracedTowers(TracedModel):
    """A model of two towers, such as one of texts and one of images; made by `contextmix.load`.

    A text is explained by the text tower, an image or a sound by the other one, and the result says which (the note
    ``tower``). Both by name, ``{"image": …, "text": …}``, give both results, by the same names. The score that methods
    of the whole model explain is the similarity of the two sides: of such a pair, or with what ``target`` names, as in
    ``explain("photo.jpg", "gradient_inputs", target="a red disc")``; two texts are contrasted.
    """

    @kept
    def towers(self) -> Mapping[str, TracedTower]:
        """The towers by what they read: ``"text"``, and ``"image"`` or ``"sound"``. Each is a `TracedModel`."""
        made: Any = {"name": self.origin.model, "revision": self.origin.revision}
        found = {}
        for kind, tower in sorted(towers_of(self.model).items(), key=lambda item: item[0] != TEXT):
            reader = (self.tokenizer, None) if kind == TEXT else (None, self._reader(kind))
            found[kind] = TracedTower(self.model, tower, *reader, **made)
        return found

    def _reader(self, kind: str) -> Any:
        """What reads images or sounds: by itself, or a part of the processor."""
        own = self.processor
        return getattr(own, KINDS[kind].attribute, None) if isinstance(own, ProcessorMixin) else own

    # The verbs -------------------------------------------------------------------------------------------------------

    @undisturbed
    def trace(self, source: Any, **how: Any) -> Any:
        """See `TracedModel.trace`; of a pair a trace of each by its name."""
        return self._each("trace", source, how)

    @undisturbed
    def explain(self, source: Any, method: MethodName = None, *, target: Any = None, **how: Any) -> Any:
        """See `TracedModel.explain`, whose options these are; of a pair a map of each by its name.

        Args:
            source: A text, an image or a sound; both by name, ``{"image": …, "text": …}``; model inputs; or a list.
            method: As for `TracedModel.explain`.
            target: What the other tower reads, for methods that explain a score: the similarity with it.
            how: The other options.
        """
        if target is not None and method is None:
            refuse_idle_target([make_plan(self.towers[TEXT].usual_method())], target)
        return self._each("explain", source, {"method": method, **how}, target, () if method is None else [method])

    @undisturbed
    def compare(self, source: Any, methods: MethodNames, *, target: Any = None, **how: Any) -> Any:
        """See `TracedModel.compare`; of a pair a comparison of each by its name."""
        return self._each("compare", source, {"methods": methods, **how}, target, methods)

    @undisturbed
    def explore(self, source: Any, methods: ExploredMethods = None, *, target: Any = None, **how: Any) -> Any:
        """See `TracedModel.explore`; of a pair an exploration of each by its name."""
        return self._each("explore", source, {"methods": methods, **how}, target, () if methods is None else methods)

    @undisturbed
    def check(self, source: Any = None) -> CheckReport:
        """Prove that each tower can be read, that it runs alone as in the whole model, and that nothing else attends.

        Args:
            source: What `explain` takes; left out, short probes of all towers.

        Raises:
            UnsupportedModel: If blocks cannot be read, or a tower is no model of its own.
            TraceDoesNotAddUp: If a check fails.
        """
        asked = dict.fromkeys(self.towers) if source is None else by_towers(self.towers, source)
        reports = [self.towers[kind].check(own) for kind, own in asked.items()]
        with self.turn:
            refuse_joined(self.model, [tower.model for tower in self.towers.values()])  # type: ignore[misc]
        checks = Checks()
        for report in reports:
            checks = checks.merged(report.checks)
        blocks = tuple(block for report in reports for block in _from_whole(report.anatomy).blocks)
        parity = max(report.parity for report in reports)
        return CheckReport(self.origin.model, Anatomy(blocks), reports[0].n_heads, checks, parity)

    def _each(
        self, verb: str, source: Any, how: Mapping[str, Any], target: Any = None, methods: Sequence[str] = ()
    ) -> Any:
        """A verb of the towers that read a source; of several sources, in a list, those of each."""
        several = is_list(source)
        if several and not len(source):
            raise BadInput("The list is empty, so there is nothing to explain.")
        each = [by_towers(self.towers, one) for one in (source if several else [source])]
        kinds = {tuple(asked) for asked in each}
        if several and (len(kinds) > 1 or len(each[0]) > 1):
            return [self._each(verb, one, how, target, methods) for one in source]
        given: dict[str, Any] = {
            kind: [asked[kind] for asked in each] if several else own for kind, own in each[0].items()
        }
        scores = any(make_plan(name).of_model for name in methods)
        if target is not None and len(methods) and not scores:
            refuse_idle_target([make_plan(name) for name in methods], target)
        if not (scores or target is not None or (verb == "explore" and not len(methods) and len(given) > 1)):
            found = {kind: getattr(self.towers[kind], verb)(own, **how) for kind, own in given.items()}
        else:
            found = {kind: self._scored(kind, given, target).asked(verb, own, how) for kind, own in given.items()}
        return found if len(found) > 1 else next(iter(found.values()))

    def _scored(self, kind: str, asked: Mapping[str, Any], target: Any) -> TracedTower:
        """A tower whose score is its similarity with the target, or with the rest of the source."""
        if target is not None and len(asked) > 1:
            raise BadOption(
                f"target={target!r:.80} cannot be combined with both sides, which are compared with each "
                f"other. Leave out target, or give one side."
            )
        rest = next((own for other, own in asked.items() if other != kind), target)
        if rest is None or (isinstance(rest, str) and rest == "all"):
            other = next(name for name in self.towers if name != kind)
            raise BadOption(
                "The score of a two-tower model is the similarity of two sides; got only one. Use target=… "
                f"(what its {other} tower reads, or two of these to contrast), or give both: {{{kind!r}: …, "
                f"{other!r}: …}}."
            )
        with self.turn:
            return self.towers[kind].against(others_of(self.towers, kind, rest, self._scale))

    @kept
    def _scale(self) -> Scale:
        """How the model compares its sides; found once."""
        return own_scale(self.model, [tower.model for tower in self.towers.values()])  # type: ignore[misc]

    # What runs over many inputs need ---------------------------------------------------------------------------------

    @property
    def limit(self) -> int | None:
        """The most tokens that the text tower reads."""
        return self.towers[TEXT].limit

    @property
    def is_causal(self) -> bool:
        """Whether the tokens of a text see only what stands before them."""
        return self.towers[TEXT].is_causal

    @property
    def of_texts(self) -> TracedTower:
        """The tower of texts."""
        return self.towers[TEXT]

    def query_of(self, source: Any) -> int:
        """See `TracedModel.query_of`; that of the tower that reads the source."""
        return self.towers[next(iter(by_towers(self.towers, source)))].usual_query

    def anatomy(self, probe: Mapping[str, Tensor] | None = None) -> Anatomy:
        """Where the parts of the blocks of all towers are, one tower after the other."""
        if probe is not None:
            raise BadInput("The anatomy of two towers is found on two inputs: ask model.towers[…].anatomy(probe).")
        found = [_from_whole(tower.anatomy()).blocks for tower in self.towers.values()]
        return Anatomy(tuple(block for blocks in found for block in blocks))

    def encode(self, source: Any, **how: Any) -> list[Inputs]:
        """See `LoadedModel.encode`; both sides of a pair, one after the other."""
        if is_list(source):
            return [one for each in source for one in self.encode(each, **how)]
        return [
            one for kind, own in by_towers(self.towers, source).items() for one in self.towers[kind].encode(own, **how)
        ]

    def labels(self, one: Inputs, count: int) -> Tokens:
        """See `LoadedModel.labels`."""
        refuse_kind("labels: one", one, Inputs)
        return self._reading(one.tensors).labels(one, count)

    def measure_batch(
        self, tensors: Mapping[str, Tensor], plans: Sequence[Plan], wanted: Wanted | None = None
    ) -> BatchMaps:
        """See `LoadedModel.measure_batch`."""
        refuse_tensors("measure_batch: tensors", tensors)
        return self._reading(tensors).measure_batch(tensors, plans, wanted)

    def attribute_all(self, one: Inputs, plans: Sequence[Plan], *asked: Any, **more: Any) -> list[TokenMap]:
        """Refused: an input of one tower has no score; see `explain`."""
        refuse_kind("attribute: one", one, Inputs)
        refuse_entries("attribute: plans", plans, Plan)
        raise BadOption(
            f"{', '.join(plan.name for plan in plans)}: one side of a model of two towers has no score by itself. Say "
            "explain with target=…, or give both sides."
        )

    def _record(self, tensors: Mapping[str, Tensor], *asked: Any, **more: Any) -> tuple[Any, Checks]:
        return self._reading(tensors)._record(tensors, *asked, **more)

    def _reading(self, tensors: Mapping[str, Tensor]) -> TracedTower:
        """The tower that reads model inputs."""
        return self.towers[next(iter(by_towers(self.towers, tensors)))]


def _from_whole(anatomy: Anatomy) -> Anatomy:
    """An anatomy of a side with paths from the whole model on."""
    return Anatomy(tuple(replace(block, path=block.path.removeprefix("whole.")) for block in anatomy.blocks))
