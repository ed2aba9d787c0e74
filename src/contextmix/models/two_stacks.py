"""How an encoder–decoder turns a source and what it writes into maps: one run of both stacks serves all of them.

The frame around it is in `contextmix.models.stacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from contextmix.errors import BadInput, BadOption
from contextmix.models.explore import USUAL_JOINT, Request, Steps
from contextmix.models.joint import JointMaps, refuse_joint
from contextmix.models.joint_span import JointSpan, readout_of
from contextmix.models.loaded_model import own_probe
from contextmix.models.stacks import Stacks
from contextmix.options.values import MAX_NEW_TOKENS
from contextmix.plugins.plan import Plan
from contextmix.results.exploration import Exploration
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.traces.checks import Checks
from contextmix.traces.encoder_decoder import EncoderDecoderAnatomy, EncoderDecoderTrace, Target
from contextmix.traces.trace import LayerTrace, Trace
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.media import refusals
from contextmix.tracing.inputs.probe import LENGTH
from contextmix.tracing.inputs.sources import is_list
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.quiet import on_device
from contextmix.tracing.recording.record_decoder import Visitor
from contextmix.tracing.runs.two_stacks import encoder_inputs, probe_target, record_both, whole_probe
from contextmix.tracing.runs.written import Output, generated, given, read

Pair = tuple[Inputs, Target]
"""A source, and what is written for it."""


@dataclass(frozen=True)
class TwoStacks(Stacks[Pair]):
    """An encoder–decoder, how its sources are read, and what it writes.

    Attributes:
        output: What it is to have written; None to let it write by itself. For a list of sources, a list.
        max_new_tokens: The most that it writes itself.
        generation: Settings of its generation.
    """

    output: Any = None
    max_new_tokens: int = MAX_NEW_TOKENS
    generation: Mapping[str, Any] | None = None

    @property
    def usual(self) -> Sequence[str]:
        """See `Stacks`."""
        return USUAL_JOINT

    # Reading ---------------------------------------------------------------------------------------------------------

    def are_many(self, source: Any) -> bool:
        """See `Stacks`; model inputs hold one sequence, with a batch axis or without."""
        return is_list(source)

    def read(self, source: Any) -> list[Pair]:
        """Sources with what is written for each."""
        if is_list(source):
            return [pair for one, own in self._each(source) for pair in replace(self, output=own).read(one)]
        fed = source.get("decoder_input_ids") if isinstance(source, Mapping) else None
        if fed is not None and self.output is not None:
            raise BadOption("Both decoder_input_ids and output say what the decoder wrote. Leave one out.")
        if self.generation and (fed is not None or self.output is not None):
            raise BadOption(
                "The output is already given, so nothing is generated and generation settings have no "
                "effect. Leave them out."
            )
        if fed is not None:
            source = {name: value for name, value in source.items() if name != "decoder_input_ids"}
        inputs = self.encoded(source)
        if len(inputs) != 1:
            raise BadInput(f"The model inputs hold {len(inputs)} sequences. Give a list with one of each.")
        return [(inputs[0], self._target(inputs[0], fed))]

    def _each(self, source: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Each source with its own output."""
        self.encoded(source)  # refuse an empty list, and any misfit, before the work
        outputs = [None] * len(source) if self.output is None else self.output
        if isinstance(outputs, str) or len(outputs) != len(source):
            raise BadInput(f"{len(source)} sources need a list of as many outputs, or none.")
        return list(zip(source, outputs, strict=True))

    def _target(self, one: Inputs, fed: Any) -> Target:
        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        output: Output | None = self.output
        with self.loaded.turn, refusals(model, one.tensors):
            if output is not None:
                return given(model, tokenizer, output)
            inputs = on_device(model, encoder_inputs(model, one.tensors))
            if fed is not None:
                return read(model, tokenizer, inputs, fed)
            return generated(model, tokenizer, inputs, self.max_new_tokens, self.generation)

    def probe(self, source: Any) -> dict[str, Tensor]:
        """See `Stacks`; what the decoder reads is never what its blocks were found on."""
        model = self.loaded.model
        if source is None:
            return whole_probe(model, self.loaded.limit, LENGTH - 2, seed=1)
        ids = probe_target(model, LENGTH - 2, seed=1)
        return {**encoder_inputs(model, self.encoded(source)[0].tensors), "decoder_input_ids": ids}

    # Running ---------------------------------------------------------------------------------------------------------

    def depth(self, one: Pair) -> int:
        """See `Stacks`; the blocks of the decoder, whose maps are joined."""
        return len(self._anatomy().decoder)

    def _anatomy(self, probe: Mapping[str, Tensor] | None = None) -> EncoderDecoderAnatomy:
        found = self.loaded.anatomy(probe)
        assert isinstance(found, EncoderDecoderAnatomy)  # or `TracedEncoderDecoder.anatomy` had refused it
        return found

    def run(
        self, inputs: Mapping[str, Tensor], ids: Tensor, see_encoder: Callable[[LayerTrace], None], see_decoder: Visitor
    ) -> tuple[Any, Checks, int]:
        """See `record_both`."""
        model, ids = self.loaded.model, ids.to(device_of(self.loaded.model))
        own, beside = on_device(model, inputs), {"decoder_input_ids": ids}
        with self.loaded.running(own_probe(inputs), inputs):
            found = record_both(model, self._anatomy(), own, ids, see_encoder, see_decoder)
            self.loaded.proof.compare({**own, **beside}, found[0], 0)
            return found

    def _run_pair(
        self, pair: Pair, see_encoder: Callable[[LayerTrace], None], see_decoder: Visitor
    ) -> tuple[Any, Checks, int]:
        one, target = pair
        inputs = encoder_inputs(self.loaded.model, one.tensors)
        return self.run(inputs, torch.tensor([target.read.ids]), see_encoder, see_decoder)

    def traced(self, pair: Pair) -> EncoderDecoderTrace:
        """Every layer of both stacks; see `TracedEncoderDecoder.trace`."""
        encoder: list[LayerTrace] = []
        steps: list[tuple[LayerTrace, LayerTrace]] = []
        _, checks, count = self._run_pair(
            pair, lambda layer: encoder.append(layer[0]), lambda *both: steps.append(both)
        )
        (one, target), origin = pair, self.loaded.origin
        source = self.loaded.labels(one, count)
        own, cross = zip(*steps, strict=True)
        return EncoderDecoderTrace(
            encoder=Trace(source, tuple(encoder), checks, origin),
            decoder=Trace(target.read, own, checks, origin),
            cross=Trace(source, cross, checks, origin, query_tokens=target.read),
            target=target,
            checks=checks,
            origin=origin,
        )

    def joint(
        self, pair: Pair, plans: Sequence[Plan], query: int | str | None, layers: Any, steps: Steps | None = None
    ) -> dict[str, TokenMap]:
        """The joint map of each plan, by its name; one run of both stacks serves them all."""
        joints = [JointMaps(plan) for plan in plans if not plan.reads_rows]
        spans = [JointSpan(plan) for plan in plans if plan.reads_rows]

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
            for span in spans:
                if steps is not None:
                    steps.layer(span.plan, cross.index)
                span.see(own, cross)

        outputs, checks, count = self._run_pair(pair, see_encoder, see_decoder)
        one, target = pair
        source, found = self.loaded.labels(one, count), dict[str, TokenMap]()

        def made(plan: Plan) -> Provenance:
            return self.loaded.origin.provenance(checks, **plan.describe()).noting(**one.notes)

        for joint in joints:
            found[joint.plan.name] = joint.result(source, target, made(joint.plan), query, layers)
        for span in spans:
            head = readout_of(self.loaded.model, self._anatomy(), self._whole(one, target))
            found[span.plan.name] = span.result((source, target), outputs.logits[0], head, made(span.plan), query)
        return {plan.name: found[plan.name] for plan in plans}

    def _whole(self, one: Inputs, target: Target) -> dict[str, Tensor]:
        """All that the whole model reads of a pair."""
        inputs = encoder_inputs(self.loaded.model, one.tensors)
        return on_device(self.loaded.model, {**inputs, "decoder_input_ids": torch.tensor([target.read.ids])})

    def rows(self, one: Pair, plans: Sequence[Plan], query: int | str | None, target: Any) -> Mapping[str, TokenMap]:
        """See `Stacks`."""
        found = self.joint(one, plans, 0 if query is None else query, None)
        return {name: each.layer(-1) if "layer" in each.dims else each for name, each in found.items()}

    def explored(self, one: Pair, over: Any, asked: Request) -> Exploration:
        """See `Stacks`."""
        row = 0 if asked.query is None else one[1].written.position(asked.query)
        return asked.gathered(self.joint(one, asked.plans, None, asked.layers, asked.steps), row, over)

    # What is refused before the work ---------------------------------------------------------------------------------

    def refuse_incomparable(self, plans: Sequence[Plan]) -> None:
        """See `refuse_joint`."""
        for plan in plans:
            refuse_joint(plan)

    def refuse_several(self, inputs: Sequence[Pair], target: Any) -> None:
        """See `Stacks`; there is no class to name either."""
        if len(inputs) != 1 or target is not None:
            raise BadInput(
                "A comparison takes one source and no target. Compare sources one by one, and leave out target."
            )

    def refuse_question(self, heads: bool, target: Any) -> None:
        """See `Stacks`."""
        if heads or target is not None:
            raise BadOption("Maps of two stacks join all heads and explain no score: leave heads and target out.")

    def refuse_unexplorable(self, plans: Sequence[Plan], target: Any) -> None:
        """See `refuse_joint`."""
        self.refuse_incomparable(plans)

    def refuse_query(self, inputs: Sequence[Pair], query: int | str | None) -> None:
        """See `Stacks`; rows bear the names of the written tokens."""
        for _, target in inputs:
            if query is not None:
                target.written.position(query)
