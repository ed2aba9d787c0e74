"""TracedEncoderDecoder: a model of two stacks that can be asked which source and target tokens made what.

Here are the verbs. How sources are read, run and joined is in `contextmix.models.two_stacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from contextmix.errors import BadInput, BadOption, refuse_kind
from contextmix.models.check import CheckReport, checked
from contextmix.models.explain import refuse_axes
from contextmix.models.joint import joined_rows, refuse_joint
from contextmix.models.traced_model import TracedModel
from contextmix.models.two_stacks import TwoStacks
from contextmix.options.catalogue import (
    AddSpecialTokens,
    Aggregation,
    BatchSize,
    ExploredMethods,
    Memory,
    MethodName,
    MethodNames,
    Query,
    QueryOrAll,
    SamplingRate,
    ShownLayers,
    Target,
    Truncate,
)
from contextmix.options.option import filled, parted, takes
from contextmix.options.sets import Encoding
from contextmix.options.values import MAX_NEW_TOKENS, MEMORY_BUDGET
from contextmix.options.verbs import ExploreWrittenOptions, Writing
from contextmix.options.writing import Continuation, Contrast, Generation, MaxNewTokens, MaxWritten, Output, Together
from contextmix.plugins.plan import Plan, make_plan
from contextmix.results.comparison import Comparison
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.checks import Checks
from contextmix.traces.encoder_decoder import EncoderDecoderAnatomy
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.discovery.encoder_decoder import discover_encoder_decoder
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.probe import LENGTH, source_probe
from contextmix.tracing.inputs.sources import Source, is_list
from contextmix.tracing.recording.modes import undisturbed
from contextmix.tracing.recording.quiet import on_device
from contextmix.tracing.runs.two_stacks import both_inputs, probe_target


class TracedEncoderDecoder(TracedModel):
    """An encoder–decoder; made by `contextmix.load`.

    A decoder position that has read the start and t tokens writes token t + 1. Rows of `explain` bear the name of the
    token that the position *wrote*; keys are the source tokens, and the tokens that the decoder had *read*. No prompt
    holds both, so `explain_answer` and `ablate` are refused with `UnsupportedModel`.
    """

    def anatomy(self, probe: Mapping[str, Tensor] | None = None) -> EncoderDecoderAnatomy:
        """Where the model keeps the parts of the blocks of both stacks; found on a short probe and kept.

        Raises:
            UnsupportedModel: If the blocks cannot be read.
            BadInput: If the anatomy given to `contextmix.load` is one of a single stack.
        """
        if self._anatomy is None:
            with self.turn:
                source, target = on_device(self.model, probe or self._probe()), probe_target(self.model, LENGTH - 1)
                self._anatomy = discover_encoder_decoder(self.model, source, target)
                self.follow()
        if not isinstance(self._anatomy, EncoderDecoderAnatomy):
            raise BadInput("The anatomy is that of one stack, and this model has two: give an EncoderDecoderAnatomy.")
        return self._anatomy

    @takes
    @undisturbed
    def trace(  # noqa: D417 (options are documented where they are declared)
        self,
        source: Any,
        *,
        output: Output = None,
        truncate: Truncate = False,
        sampling_rate: SamplingRate = None,
        batch_size: BatchSize = 8,
        max_new_tokens: MaxWritten = MAX_NEW_TOKENS,
        add_special_tokens: AddSpecialTokens = None,
        generation: Generation = None,
    ) -> Any:
        """Run the model on a source and what it writes, and keep what every layer of both stacks mixed.

        Args:
            source: A text, an image, a sound, model inputs (with ``decoder_input_ids``, if you like), or a list of
                these.

        Returns:
            An `EncoderDecoderTrace`; for a list, a list of them in order.

        Raises:
            TraceDoesNotAddUp: If the parts of a block do not rebuild what the model computed.
            UnsupportedModel: If the model cannot be read.
            BadInput: If the output is empty, or the model cannot write one.
            TooLong: If the source or the output is longer than the model reads.
        """
        own = {"output": output, "max_new_tokens": max_new_tokens, "generation": generation}
        stacks = TwoStacks(self, truncate, sampling_rate, **own, add_special_tokens=add_special_tokens)
        return stacks.one_or_all(source, [stacks.traced(pair) for pair in stacks.read(source)])

    @partial(takes, also=Writing)
    @undisturbed
    def explain(  # noqa: D417
        self,
        source: Any,
        method: MethodName = None,
        *,
        output: Output = None,
        aggregation: Aggregation = None,
        query: QueryOrAll = None,
        layers: ShownLayers = None,
        target: Target = None,
        truncate: Truncate = False,
        sampling_rate: SamplingRate = None,
        **options: Any,
    ) -> Any:
        """Which source tokens, and which tokens written before, made each token that the decoder wrote?

        The joint rollout of ALTI+, for every method whose maps know the residual stream: rows are shares. A mixing map
        without aggregation gives the joint map of each decoder layer by itself, whose source columns are the encoder's
        outputs. The query is a written token. These models explain no score, so a target is refused; the size of
        batches and the memory budget change nothing.

        Args:
            source: A text, an image, a sound, model inputs, or a list of these.
            options: Of the method and the aggregation.

        Returns:
            A `TokenMap`, or a list of them: queries are the written tokens, keys the source tokens and then those that
            the decoder read. ``provenance.notes`` hold ``source_tokens``, how many keys are the source's, and
            ``source_share``, their part of each row; `contextmix.source_and_target` gives the two halves.

        Raises:
            BadOption: If the method or the aggregation is not defined across two stacks.
            UnknownToken: If there is no such query.
        """
        how, own = parted(Writing, options, "explain")
        plan = make_plan(method or self.usual_method(), aggregation, own)
        refuse_joint(plan)
        if plan.of_model:
            refuse_axes(plan, layers=layers)
        if target is not None:
            raise BadOption(f"target={target!r} names a class, and this model writes tokens: choose one with query=….")
        own = {name: how[name] for name in ("max_new_tokens", "generation", "add_special_tokens")}
        stacks = TwoStacks(self, truncate, sampling_rate, output=output, **own)
        pairs = stacks.read(source)
        stacks.refuse_query(pairs, query)  # before the work, not after it
        return stacks.one_or_all(source, [stacks.joint(pair, [plan], query, layers)[plan.name] for pair in pairs])

    @partial(takes, also=Encoding)
    @undisturbed
    def explain_generation(  # noqa: D417
        self,
        prompt: Source,
        method: MethodName = None,
        *,
        max_new_tokens: MaxNewTokens = 10,
        continuation: Continuation = None,
        contrast: Contrast = False,
        together: Together = False,
        aggregation: Aggregation = None,
        layers: ShownLayers = None,
        memory_budget: Memory = MEMORY_BUDGET,
        generation: Generation = None,
        **options: Any,
    ) -> TokenMap:
        """One row per new token, as for a model of one stack: `explain` by another name.

        The continuation is what the decoder is to have written; together, its tokens have the mean of their rows. A
        contrast is refused: these models explain no score.

        Args:
            prompt: The source: a text, or model inputs of one sequence.
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
            raise BadInput(f"Only one prompt can be continued at a time; got {len(prompt)}.")
        how: dict[str, Any] = {"output": continuation, "max_new_tokens": max_new_tokens, "layers": layers, **options}
        how["generation"] = generation
        found: TokenMap = self.explain(prompt, method, aggregation=aggregation, **how)
        return joined_rows(found) if together else found

    @takes
    @undisturbed
    def compare(  # noqa: D417
        self,
        source: Source,
        methods: MethodNames,
        *,
        query: Query = None,
        target: Target = None,
        truncate: Truncate = False,
        sampling_rate: SamplingRate = None,
        output: Output = None,
        max_new_tokens: MaxWritten = MAX_NEW_TOKENS,
        add_special_tokens: AddSpecialTokens = None,
        generation: Generation = None,
    ) -> Comparison:
        """Several methods on one source and output: the row of one written token by each; see `TracedModel.compare`.

        Args:
            source: A text, or model inputs for one sequence.
            methods: Recipes, or mixing maps (of which the last layer is taken).
        """
        own = {"output": output, "max_new_tokens": max_new_tokens, "generation": generation}
        stacks = TwoStacks(self, truncate, sampling_rate, **own, add_special_tokens=add_special_tokens)
        return stacks.compare(source, methods, query, target)

    @takes
    @undisturbed
    def explore(  # type: ignore[override]  # no prompt of it holds images, so it has no tower to ask for
        self, source: Any, methods: ExploredMethods = None, **asked: Unpack[ExploreWrittenOptions]
    ) -> Any:
        """The full joint maps of several methods, to look into; see `TracedModel.explore`.

        The query is a written token. Maps of single heads cannot be joined and explain no score, so heads and targets
        are refused; the memory budget changes nothing.

        Args:
            source: A text, an image, a sound, model inputs, or a list of these.
            methods: Recipes and mixing maps that can be joined; left out, GlobEnc, ALTI+ and ALTI's map of each layer.
            asked: As declared in `contextmix.options.verbs.ExploreWrittenOptions`.

        Returns:
            An `Exploration`, or a list of them: queries are the written tokens, keys the source and what was read.
        """
        options = filled(ExploreWrittenOptions, asked, "explore")
        names = "truncate", "sampling_rate", "output", "max_new_tokens", "generation", "add_special_tokens"
        return TwoStacks(self, **{name: options[name] for name in names}).explore(source, methods, options)

    @undisturbed
    def check(self, source: Any = None) -> CheckReport:
        """Prove that this model can be read: anatomy, conservation, block equation and parity of both stacks.

        Parity compares what the decoder gave here with one plain run of the whole model.

        Raises:
            UnsupportedModel: If its blocks cannot be read.
            TraceDoesNotAddUp: If a check fails.
        """
        return checked(self, self._record, TwoStacks(self).probe(source))

    def labels(self, one: Inputs, count: int) -> Tokens:
        """The labels of a source, of which a run has shown ``count`` tokens."""
        refuse_kind("labels: one", one, Inputs)
        with self.turn:
            return one.labels(self.model.get_encoder(), Anatomy(self.anatomy().blocks), count)

    def attribute_all(self, one: Inputs, plans: Sequence[Plan], *_: Any, **__: Any) -> list[TokenMap]:
        """Refused: these models explain no score.

        Raises:
            BadOption: Always.
        """
        refuse_kind("attribute: one", one, Inputs)
        raise BadOption(
            "An encoder–decoder does not explain scores. Use explain to see what produced each output token."
        )

    def _record(
        self,
        tensors: Mapping[str, Tensor],
        visit: Callable[[LayerTrace], None],
        *,
        last_logits: int = 1,
    ) -> tuple[Any, Checks]:
        """Both stacks; the visitor sees the blocks of the encoder, and the outputs are whole."""
        outputs, checks, _ = TwoStacks(self).run(*both_inputs(tensors), visit, _ignore)
        return outputs, checks

    def _probe(self) -> dict[str, Tensor]:
        return source_probe(self.model, self.limit)

    def _whole_probe(self, own: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        return {**(own or self._probe()), "decoder_input_ids": probe_target(self.model, LENGTH - 1)}


def _ignore(own: LayerTrace, cross: LayerTrace) -> None:
    """A visitor that only wants the checks."""
