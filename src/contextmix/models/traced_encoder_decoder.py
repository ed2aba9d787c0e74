"""TracedEncoderDecoder: a model of two stacks that can be asked which source and target tokens made what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from contextmix.errors import BadInput, BadOption
from contextmix.models import explore as exploring
from contextmix.models.joint import JointMaps, refuse_joint
from contextmix.models.traced_model import CheckReport, TracedModel
from contextmix.options.catalogue import MEMORY_BUDGET
from contextmix.plugins.plan import Plan, make_plan, plans_to_compare
from contextmix.results.comparison import Comparison
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.encoder_decoder import EncoderDecoderAnatomy, EncoderDecoderTrace, Target
from contextmix.traces.trace import Checks, LayerTrace, Trace
from contextmix.tracing.discovery.encoder_decoder import discover_encoder_decoder
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.media import refusals
from contextmix.tracing.inputs.probe import LENGTH, source_probe
from contextmix.tracing.inputs.sources import Source, is_list
from contextmix.tracing.recording.record_decoder import Visitor
from contextmix.tracing.recording.verify import parity
from contextmix.tracing.runs.two_stacks import encoder_inputs, probe_target, record_both
from contextmix.tracing.runs.written import Output, generated, given, read

MAX_NEW_TOKENS = 64
"""Tokens that a model writes itself at most, unless told otherwise."""


class TracedEncoderDecoder(TracedModel):
    """An encoder–decoder; made by `contextmix.load`.

    A decoder position that has read the start and t tokens writes token t + 1. Rows of `explain` bear the name of the
    token that the position *wrote*; keys are the source tokens, and the tokens that the decoder had *read*.
    """

    def anatomy(self, probe: Mapping[str, Tensor] | None = None) -> EncoderDecoderAnatomy:
        """Where the model keeps the parts of the blocks of both stacks; found on a short probe and kept.

        Raises:
            UnsupportedModel: If the blocks cannot be read.
            BadInput: If the anatomy given to `contextmix.load` is one of a single stack.
        """
        if self._anatomy is None:
            with self.turn:
                source, target = self._on_device(probe or self._probe()), probe_target(self.model, LENGTH - 1)
                self._anatomy = discover_encoder_decoder(self.model, source, target)
        if not isinstance(self._anatomy, EncoderDecoderAnatomy):
            raise BadInput("The anatomy is that of one stack, and this model has two: give an EncoderDecoderAnatomy.")
        return self._anatomy

    def trace(
        self,
        source: Any,
        *,
        output: Any = None,
        truncate: bool = False,
        sampling_rate: int | None = None,
        batch_size: int = 8,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Any:
        """Run the model on a source and what it writes, and keep what every layer of both stacks mixed.

        Args:
            source: A text, an image, a sound, model inputs (with ``decoder_input_ids``, if you like), or a list of
                these.
            output: What the decoder is to have written: a text, or its token ids; for a list, a list. Left out, the
                model writes it itself, greedily.
            truncate: Cut sources that are too long instead of refusing them.
            sampling_rate: Samples per second, for a sound that does not say it.
            batch_size: Sources run one by one, as each has a length of its own; this changes nothing.
            max_new_tokens: The most that it writes itself.

        Returns:
            An `EncoderDecoderTrace`; for a list, a list of them in order.

        Raises:
            TraceDoesNotAddUp: If the parts of a block do not rebuild what the model computed.
            UnsupportedModel: If the model cannot be read.
            BadInput: If the output is empty, or the model cannot write one.
            TooLong: If the source or the output is longer than the model reads.
        """
        pairs = self._pairs(source, output, max_new_tokens, truncate=truncate, sampling_rate=sampling_rate)
        return _one_or_all(source, [self._traced(*pair) for pair in pairs])

    def explain(
        self,
        source: Any,
        method: str = "globenc",
        *,
        output: Any = None,
        aggregation: str | None = None,
        query: int | str | None = None,
        layers: Literal["all"] | Sequence[int] | None = None,
        target: Any = None,
        truncate: bool = False,
        sampling_rate: int | None = None,
        batch_size: int = 8,
        memory_budget: int = MEMORY_BUDGET,
        max_new_tokens: int = MAX_NEW_TOKENS,
        **options: Any,
    ) -> Any:
        """Which source tokens, and which tokens written before, made each token that the decoder wrote?

        The joint rollout of ALTI+, for every method whose maps know the residual stream: rows are shares. A mixing map
        without aggregation gives the joint map of each decoder layer by itself, whose source columns are the encoder's
        outputs.

        Args:
            source: A text, an image, a sound, model inputs, or a list of these.
            method: A recipe such as ``"alti_rollout"``, or a mixing map such as ``"alti"``.
            output: What the decoder is to have written; see `trace`.
            aggregation: ``"rollout"`` for a mixing map; a recipe brings its own.
            query: Only the row of this written token (position or text).
            layers: Decoder blocks to show; left out, the last one of a rollout, all of a mixing map.
            target: Not for these models: their outputs are the rows.
            truncate: Cut sources that are too long instead of refusing them.
            sampling_rate: Samples per second, for a sound that does not say it.
            batch_size: Changes nothing; see `trace`.
            memory_budget: Changes nothing.
            max_new_tokens: The most that the model writes itself.
            options: Of the method and the aggregation.

        Returns:
            A `TokenMap`, or a list of them: queries are the written tokens, keys the source tokens and then those that
            the decoder read. ``provenance.notes`` hold ``source_tokens``, how many keys are the source's, and
            ``source_share``, their part of each row; `contextmix.source_and_target` gives the two halves.

        Raises:
            BadOption: If the method or the aggregation is not defined across two stacks.
            UnknownToken: If there is no such query.
        """
        plan = make_plan(method, aggregation, options)
        refuse_joint(plan)
        if target is not None:
            raise BadOption(f"target={target!r} names a class, and this model writes tokens: choose one with query=….")
        pairs = self._pairs(source, output, max_new_tokens, truncate=truncate, sampling_rate=sampling_rate)
        for _, one in pairs:
            if query is not None:
                one.written.position(query)  # refuse before the work, not after it
        return _one_or_all(source, [self._joint(*pair, [plan], query, layers)[0] for pair in pairs])

    def explain_generation(
        self,
        prompt: Source,
        method: str = "globenc",
        *,
        max_new_tokens: int = 10,
        continuation: Any = None,
        contrast: bool = False,
        aggregation: str | None = None,
        layers: Literal["all"] | Sequence[int] | None = None,
        memory_budget: int = MEMORY_BUDGET,
        **options: Any,
    ) -> TokenMap:
        """One row per new token, as for a model of one stack: `explain` by another name.

        Args:
            prompt: The source: a text, or model inputs of one sequence.
            method: See `explain`.
            max_new_tokens: The most that the model writes itself, greedily.
            continuation: What it is to have written instead; ``output`` in `explain`.
            contrast: Not for these models.
            aggregation: See `explain`.
            layers: See `explain`.
            memory_budget: Changes nothing.
            options: Of the method and the aggregation.

        Returns:
            Dims (query, key): queries are the new tokens, keys the source and what the decoder read.

        Raises:
            BadOption: If a contrast is asked for, or the method is not defined across two stacks.
            BadInput: If there is more than one prompt.
        """
        if contrast:
            raise BadOption("contrast=True compares the scores of two tokens, and maps of two stacks explain no score.")
        if is_list(prompt):
            raise BadInput(f"One prompt is continued at a time; {len(prompt)} were given.")
        how: dict[str, Any] = {"output": continuation, "max_new_tokens": max_new_tokens, "layers": layers, **options}
        found: TokenMap = self.explain(prompt, method, aggregation=aggregation, **how)
        return found

    def compare(
        self,
        source: Source,
        methods: Sequence[str],
        *,
        query: int | str | None = None,
        target: Any = None,
        truncate: bool = False,
        sampling_rate: int | None = None,
        output: Any = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Comparison:
        """Several methods on one source and output: the row of one written token by each; see `TracedModel.compare`.

        Args:
            source: A text, or model inputs for one sequence.
            methods: Recipes, or mixing maps (of which the last layer is taken).
            query: The written token whose row is compared; left out, the first.
            target: Not for these models.
            truncate: Cut a source that is too long instead of refusing it.
            sampling_rate: Samples per second, for a sound that does not say it.
            output: What the decoder is to have written; see `trace`.
            max_new_tokens: The most that the model writes itself.
        """
        plans = plans_to_compare(methods)
        for plan in plans:
            refuse_joint(plan)
        pairs = self._pairs(source, output, max_new_tokens, truncate=truncate, sampling_rate=sampling_rate)
        if len(pairs) != 1 or target is not None:
            raise BadInput("A comparison is of one source and no class; give them one by one, and no target.")
        chosen = 0 if query is None else query
        found = dict(zip((plan.name for plan in plans), self._joint(*pairs[0], plans, chosen, None), strict=True))
        return Comparison({name: one.layer(-1) if "layer" in one.dims else one for name, one in found.items()})

    def explore(
        self,
        source: Any,
        methods: Sequence[str] | None = None,
        *,
        heads: bool = False,
        query: int | str | None = None,
        target: Any = None,
        layers: Literal["all"] | Sequence[int] = "all",
        options: Mapping[str, Mapping[str, Any]] | None = None,
        truncate: bool = False,
        sampling_rate: int | None = None,
        memory_budget: int = MEMORY_BUDGET,
        progress: exploring.Progress | None = None,
        output: Any = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Any:
        """The full joint maps of several methods, to look into; see `TracedModel.explore`.

        Args:
            source: A text, an image, a sound, model inputs, or a list of these.
            methods: Recipes and mixing maps that can be joined; left out, GlobEnc, ALTI+ and ALTI's map of each layer.
            heads: Not for these models: maps of single heads cannot be joined.
            query: The written token that is looked at first; left out, the first.
            target: Not for these models: their outputs are the rows.
            layers: Decoder blocks to keep; left out, all.
            options: Method → its options.
            truncate: Cut sources that are too long instead of refusing them.
            sampling_rate: Samples per second, for a sound that does not say it.
            memory_budget: Changes nothing.
            progress: Called as ``progress(done, what)`` before each step.
            output: What the decoder is to have written; see `trace`.
            max_new_tokens: The most that the model writes itself.

        Returns:
            An `Exploration`, or a list of them: queries are the written tokens, keys the source and what was read.
        """
        if heads or target is not None:
            raise BadOption("Maps of two stacks join all heads and explain no score: leave heads and target out.")
        plans = exploring.plans_to_explore(exploring.USUAL_JOINT if methods is None else methods, False, options)
        for plan in plans:
            refuse_joint(plan)
        pairs = self._pairs(source, output, max_new_tokens, truncate=truncate, sampling_rate=sampling_rate)
        rows = [0 if query is None else target.written.position(query) for _, target in pairs]
        steps = exploring.Steps(len(pairs) * len(plans), len(self.anatomy().decoder), progress)
        asked = exploring.Request(plans, (), query, None, layers, memory_budget, steps)
        found = []
        for (one, written), row, over in zip(pairs, rows, source if is_list(source) else [source], strict=True):
            maps = self._joint(one, written, plans, None, layers, steps)
            found.append(asked.gathered({plan.name: each for plan, each in zip(plans, maps, strict=True)}, row, over))
        steps.end()
        return _one_or_all(source, found)

    def check(self, source: Any = None) -> CheckReport:
        """Prove that this model can be read: anatomy, conservation, block equation and parity of both stacks.

        Parity compares what the decoder gave here with one plain run of the whole model.

        Raises:
            UnsupportedModel: If its blocks cannot be read.
            TraceDoesNotAddUp: If a check fails.
        """
        inputs = self._probe() if source is None else encoder_inputs(self.model, self.encode(source)[0].tensors)
        ids = probe_target(self.model, LENGTH - 2, seed=1)
        heads: list[int] = []
        outputs, checks, _ = self._run(inputs, ids, lambda layer: heads.append(layer.attention.shape[-3]), _ignore)
        with self.turn:
            difference = parity(self.model, self._on_device({**inputs, "decoder_input_ids": ids}), outputs)
        return CheckReport(self.origin.model, self.anatomy(), heads[0], checks, difference)

    # Private ---------------------------------------------------------------------------------------------------------

    def _probe(self) -> dict[str, Tensor]:
        return source_probe(self.model, self.limit)

    def _pairs(self, source: Any, output: Any, max_new_tokens: int, **how: Any) -> list[tuple[Inputs, Target]]:
        """Sources with what is written for each."""
        if is_list(source):
            self.encode(source, **how)  # refuse an empty list, and any misfit, before the work
            outputs = [None] * len(source) if output is None else output
            if isinstance(outputs, str) or len(outputs) != len(source):
                raise BadInput(f"{len(source)} sources need a list of as many outputs, or none.")
            many = zip(source, outputs, strict=True)
            return [pair for one, own in many for pair in self._pairs(one, own, max_new_tokens, **how)]
        fed = source.get("decoder_input_ids") if isinstance(source, Mapping) else None
        if fed is not None and output is not None:
            raise BadOption("The decoder is told by decoder_input_ids and by output what it wrote. Leave one out.")
        if fed is not None:
            source = {name: value for name, value in source.items() if name != "decoder_input_ids"}
        inputs = self.encode(source, **how)
        if len(inputs) != 1:
            raise BadInput(f"The model inputs hold {len(inputs)} sequences. Give a list with one of each.")
        return [(inputs[0], self._target(inputs[0], output, fed, max_new_tokens))]

    def _target(self, one: Inputs, output: Output | None, fed: Any, max_new_tokens: int) -> Target:
        with self.turn, refusals(self.model):
            if output is not None:
                return given(self.model, self.tokenizer, output)
            inputs = self._on_device(encoder_inputs(self.model, one.tensors))
            if fed is not None:
                return read(self.model, self.tokenizer, inputs, fed)
            return generated(self.model, self.tokenizer, inputs, max_new_tokens)

    def labels(self, one: Inputs, count: int) -> Tokens:
        """The labels of a source, of which a run has shown ``count`` tokens."""
        with self.turn:
            return one.labels(self.model.get_encoder(), Anatomy(self.anatomy().blocks), count)

    def _run(
        self, inputs: Mapping[str, Tensor], ids: Tensor, see_encoder: Callable[[LayerTrace], None], see_decoder: Visitor
    ) -> tuple[Any, Checks, int]:
        """See `record_both`."""
        with self.turn, refusals(self.model):
            anatomy = self.anatomy(None if "input_ids" in inputs else inputs)
            place = self.model.device
            return record_both(self.model, anatomy, self._on_device(inputs), ids.to(place), see_encoder, see_decoder)

    def _traced(self, one: Inputs, target: Target) -> EncoderDecoderTrace:
        encoder: list[LayerTrace] = []
        steps: list[tuple[LayerTrace, LayerTrace]] = []
        _, checks, count = self._run(
            encoder_inputs(self.model, one.tensors),
            _ids(target),
            lambda layer: encoder.append(layer[0]),
            lambda *both: steps.append(both),
        )
        source = self.labels(one, count)
        own, cross = zip(*steps, strict=True)
        return EncoderDecoderTrace(
            encoder=Trace(source, tuple(encoder), checks, self.origin),
            decoder=Trace(target.read, own, checks, self.origin),
            cross=Trace(source, cross, checks, self.origin, query_tokens=target.read),
            target=target,
            checks=checks,
            origin=self.origin,
        )

    def _joint(
        self,
        one: Inputs,
        target: Target,
        plans: Sequence[Plan],
        query: int | str | None,
        layers: Any,
        steps: exploring.Steps | None = None,
    ) -> list[TokenMap]:
        """The joint map of each plan; one run of both stacks serves them all."""
        joints = [JointMaps(plan) for plan in plans]

        def see_encoder(layer: LayerTrace) -> None:
            for joint in joints:
                if steps is not None:
                    steps.still(f"{joint.plan.name}, encoder")
                joint.see_encoder(layer)

        def see_decoder(own: LayerTrace, cross: LayerTrace) -> None:
            for joint in joints:
                if steps is not None:
                    steps.layer(joint.plan, cross.index)
                joint.see_decoder(own, cross)

        _, checks, count = self._run(encoder_inputs(self.model, one.tensors), _ids(target), see_encoder, see_decoder)
        source = self.labels(one, count)
        made = [self.origin.provenance(checks, **plan.describe()) for plan in plans]
        return [joint.result(source, target, each, query, layers) for joint, each in zip(joints, made, strict=True)]


def _ids(target: Target) -> Tensor:
    return torch.tensor([target.read.ids])


def _ignore(own: LayerTrace, cross: LayerTrace) -> None:
    """A visitor that only wants the checks."""


def _one_or_all(source: Any, found: list[Any]) -> Any:
    return found if is_list(source) else found[0]
