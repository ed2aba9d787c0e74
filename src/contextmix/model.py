"""TracedModel: a Hugging Face model that can be asked which tokens made what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix import exploring
from contextmix.anatomy import Anatomy
from contextmix.attribution import Subject, attributed, masks, said, scores_tokens, until
from contextmix.batch import BatchMaps, Measuring, Wanted
from contextmix.comparison import Comparison
from contextmix.contracts import Method, ModelMethod
from contextmix.errors import BadInput, BadOption
from contextmix.exploration import Exploration
from contextmix.generation import of_maps, of_steps, refuse_contrast, refuse_other_models, steps_of
from contextmix.plan import Plan, make_plan, plans_to_compare
from contextmix.tokenmap import TokenMap
from contextmix.tokens import Tokens
from contextmix.trace import Checks, LayerTrace, Origin, Trace
from contextmix.tracing.causality import is_causal
from contextmix.tracing.discover import discover
from contextmix.tracing.encode import Inputs, batches, length_limit, split
from contextmix.tracing.generate import Continuation, Speaker
from contextmix.tracing.media_inputs import is_one_medium, read_media, refusals
from contextmix.tracing.probe import default_probe, vocabulary
from contextmix.tracing.record import record
from contextmix.tracing.targets import Asked, speaks
from contextmix.tracing.texts import Text, encode
from contextmix.tracing.verify import parity

Source = Text | Mapping[str, Any] | Any
"""What can be explained: a text, a pair of texts, an image, a sound (see `contextmix.media`), or model inputs."""

MEMORY_BUDGET = 2**30
"""Bytes that a method of the whole model may use for its own tensors, unless told otherwise."""

# The tap is a setting of the Hugging Face model, so threads take turns, also those with another TracedModel of the
# same one.
_LOCKS: WeakKeyDictionary[PreTrainedModel, threading.RLock] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


@dataclass(frozen=True)
class CheckReport:
    """What `TracedModel.check` found.

    Attributes:
        model: Its name.
        anatomy: Where its parts are.
        n_heads: Attention heads of the first block.
        checks: Errors of conservation and of the block equation, and the number of blocks that spoke.
        parity: Relative difference of the model's outputs with and without the tap.
    """

    model: str
    anatomy: Anatomy
    n_heads: int
    checks: Checks
    parity: float


class TracedModel:
    """A model that records, per layer, what its tokens mix; made by `contextmix.load`.

    Args:
        model: A loaded transformers model. It is never changed: every setting is restored after each run.
        tokenizer: Its tokenizer; None if inputs are given as tensors.
        processor: Its image processor or feature extractor; None for texts and tensors.
        name: For provenance.
        revision: For provenance.
        anatomy: Where its parts are; None to find out on the first run.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        processor: Any = None,
        *,
        name: str,
        revision: str | None = None,
        anatomy: Anatomy | None = None,
    ) -> None:
        self.model, self.tokenizer, self.processor = model, tokenizer, processor
        self.origin = Origin(name, revision or getattr(model.config, "_commit_hash", None), library_versions())
        self._anatomy = anatomy
        with _LOCKS_LOCK:
            self._lock = _LOCKS.setdefault(model, threading.RLock())

    def __repr__(self) -> str:
        return f"<TracedModel {self.origin.model!r}: {type(self.model).__name__}>"

    @property
    def turn(self) -> threading.RLock:
        """Hold it while you run ``model`` yourself: recording changes a setting of it, so threads take turns."""
        return self._lock

    @cached_property
    def limit(self) -> int | None:
        """The most tokens that the model reads."""
        return length_limit(self.model, self.tokenizer)

    @cached_property
    def is_causal(self) -> bool:
        """Whether its tokens see only what stands before them; found by looking at a short probe."""
        if self.model.main_input_name != "input_ids" or getattr(self.model.config, "is_encoder_decoder", False):
            return False
        with self._lock:
            return is_causal(self.model, self._on_device(self._probe()))

    @property
    def usual_query(self) -> int:
        """The token whose row is looked at first: the first one, or the last of a causal model, where it sees all."""
        return -1 if self.is_causal else 0

    def anatomy(self, probe: Mapping[str, Tensor] | None = None) -> Anatomy:
        """Where the model keeps the parts of its blocks; found on a short probe and kept.

        Raises:
            UnsupportedModel: If the blocks cannot be read.
        """
        if self._anatomy is None:
            with self._lock:
                self._anatomy = discover(self.model, self._on_device(probe or self._probe()))
        return self._anatomy

    def encode(
        self, source: Source | Sequence[Source], *, truncate: bool = False, sampling_rate: int | None = None
    ) -> list[Inputs]:
        """Texts, images, sounds or model inputs as labelled single sequences.

        Raises:
            BadInput: If a text is empty, or there is no tokenizer for it, or tensors do not fit.
            TooLong: If a sequence is longer than the model reads.
        """
        media = read_media(self.model, self.processor, source, sampling_rate, truncate=truncate)
        if media is not None:
            return media
        if isinstance(source, Mapping):
            return split(source, vocabulary(self.model), self.limit, self.tokenizer)
        if not isinstance(source, str) and not is_pair(source):
            if not isinstance(source, Sequence):
                raise BadInput(
                    f"A {type(source).__name__} was given. Give a text, a pair of texts, an image, a sound, model "
                    f"inputs ({{'input_ids': …}}), or a list of these."
                )
            if len(source) == 0:
                raise BadInput("The list of texts is empty, so there is nothing to explain.")
            options: Any = {"truncate": truncate, "sampling_rate": sampling_rate}
            return [one for each in source for one in self.encode(each, **options)]
        if self.tokenizer is None:
            raise BadInput(
                "A text was given, but the model was loaded without a tokenizer. Pass one to contextmix.load, or "
                "give model inputs: {'input_ids': …}."
            )
        return [encode(self.tokenizer, source, self.limit, truncate=truncate)]  # type: ignore[arg-type]

    def trace(
        self, source: Any, *, truncate: bool = False, sampling_rate: int | None = None, batch_size: int = 8
    ) -> Any:
        """Run the model and keep what every layer mixed.

        Args:
            source: A text, a pair of texts, an image, a sound, model inputs, or a list of these.
            truncate: Cut texts and sounds that are too long instead of refusing them.
            sampling_rate: Samples per second, for a sound that does not say it.
            batch_size: Sequences of equal length that run together.

        Returns:
            A `Trace`; for a list or a batch of model inputs, a list of them in order. A trace keeps all layers:
            L·n²·H numbers. `explain` does not.

        Raises:
            TraceDoesNotAddUp: If the parts of a block do not rebuild what the model computed.
            UnsupportedModel: If the model cannot be read.

        Example:
            >>> import contextmix
            >>> len(contextmix.load("demo").trace("a good film").layers)
            3
        """
        inputs = self.encode(source, truncate=truncate, sampling_rate=sampling_rate)
        traces: list[Trace | None] = [None] * len(inputs)
        for positions, tensors in batches(inputs, batch_size):
            layers: list[LayerTrace] = []
            outputs, checks = self._record(tensors, layers.append)
            for row, position in enumerate(positions):
                own = tuple(layer[row] for layer in layers)
                tokens = self.labels(inputs[position], own[0].attention.shape[-1])
                traces[position] = Trace(tokens, own, checks, self.origin, self.prediction(outputs, row, tokens))
        return traces if _is_many(source) else traces[0]

    def explain(
        self,
        source: Any,
        method: str = "globenc",
        *,
        aggregation: str | None = None,
        query: int | str | None = None,
        layers: Literal["all"] | Sequence[int] | None = None,
        target: Asked = None,
        position: int | str | None = None,
        truncate: bool = False,
        sampling_rate: int | None = None,
        batch_size: int = 8,
        memory_budget: int = MEMORY_BUDGET,
        **options: Any,
    ) -> Any:
        """Which tokens made this? Measured layer by layer while the model runs; only the maps are kept.

        Args:
            source: A text, a pair of texts, an image, a sound, model inputs, or a list of these.
            method: A recipe such as ``"globenc"``, or a mixing map such as ``"norm_encoder"``; see
                `contextmix.methods`.
            aggregation: How a mixing map is combined across layers; a recipe brings its own.
            query: Only the row of this token (position or text): the result loses the query axis.
            layers: Blocks to show, counted from 0 (negative from the end), or ``"all"``. Left out: the last one of an
                attribution, all of a mixing map.
            target: For methods that explain a score: the class by name or number, or ``"all"`` classes; of a language
                model, the token by its text or id. Two of them, such as ``("Lily", "Tim")``, explain by how much the
                first score is above the second. Left out, the predicted one.
            position: For the same methods and language models: the token (position or text) after which the next one
                is explained, or which a masked language model is to fill in. Left out, the last one, or the only mask.
            truncate: Cut texts and sounds that are too long instead of refusing them.
            sampling_rate: Samples per second, for a sound that does not say it.
            batch_size: Sequences of equal length that run together.
            memory_budget: Bytes that a method of the whole model may use for its own tensors.
            options: Of the method and the aggregation, such as ``normalise=True``.

        Returns:
            A `TokenMap`; for a list or a batch of model inputs, a list of them in order. Dims (query, key), with a
            layer axis in front where several layers are shown.

        Raises:
            UnknownName: If the method, the aggregation or an option does not exist.
            UnknownToken: If there is no such query or position.
            NotInVocabulary: If the target is not one token of the vocabulary.
            TraceDoesNotAddUp: If the parts of a block do not rebuild what the model computed.
            UnsupportedModel: If the model cannot be read.

        Example:
            >>> import contextmix
            >>> contextmix.load("demo").explain("a good film", query="[CLS]").dims
            ('key',)
            >>> stories = contextmix.load("demo-decoder")
            >>> found = stories.explain("Once upon a time, there was a little girl named", "gradient_inputs")
            >>> found.provenance.notes["target"]
            ' Lily'
        """
        plan = make_plan(method, aggregation, options)
        inputs = self.encode(source, truncate=truncate, sampling_rate=sampling_rate)
        if isinstance(plan.method, ModelMethod):
            _refuse_axes(plan.name, query=query, layers=layers)
            whole = [self.attribute(one, plan, target, position, memory_budget) for one in inputs]
            return whole if _is_many(source) else whole[0]
        _refuse_scores(plan.name, target=target, position=position)
        plans = [plan]
        results = [found for (found,) in self._explained(inputs, plans, query, layers, batch_size)]
        return results if _is_many(source) else results[0]

    def explain_generation(
        self,
        prompt: Source,
        method: str = "globenc",
        *,
        max_new_tokens: int = 10,
        continuation: Continuation | None = None,
        contrast: bool = False,
        aggregation: str | None = None,
        layers: Literal["all"] | Sequence[int] | None = None,
        memory_budget: int = MEMORY_BUDGET,
        **options: Any,
    ) -> TokenMap:
        """Which tokens made each new token? One row per token that a causal language model goes on with.

        Args:
            prompt: A text, or ``{"input_ids": …}`` of one sequence.
            method: As in `explain`. A mixing map or recipe gives the row of the token that said the new one, from one
                run over all tokens; a method of the whole model explains the new token's score, once per token.
            max_new_tokens: How many tokens the model says at most: its own `generate`, greedy.
            continuation: Explain this instead: a text that goes on where the prompt ends (most begin with a space), or
                token ids.
            contrast: For methods of the whole model: by how much the score of each new token is above that of the most
                probable other one.
            aggregation: As in `explain`.
            layers: As in `explain`.
            memory_budget: As in `explain`.
            options: Of the method and the aggregation.

        Returns:
            Dims (query, key), with a layer axis in front where several layers are shown: queries are the new tokens,
            keys the prompt and the new tokens, exactly zero from the new token itself on. The note ``generation`` has
            the probability of each.

        Raises:
            TooLong: If the prompt is longer than the model reads.
            BadInput: If there is more than one prompt, or the continuation does not follow it.
            BadOption: If so many new tokens do not fit behind it.
            UnsupportedModel: If the model does not go on with texts, or cannot be read.

        Example:
            >>> import contextmix
            >>> stories = contextmix.load("demo-decoder")
            >>> found = stories.explain_generation("Once upon a time, there was a", max_new_tokens=3)
            >>> found.query_tokens.pieces, found.shape
            ((' little', ' g', 'ir'), (3, 12))
        """
        plan = make_plan(method, aggregation, options)
        refuse_other_models(self.model)
        refuse_contrast(plan, contrast)
        if plan.of_model:
            _refuse_axes(plan.name, layers=layers)
        prompts = self.encode(prompt)
        if len(prompts) != 1:
            raise BadInput(f"One prompt is continued at a time; {len(prompts)} were given.")
        with self._lock:
            done = Speaker(self.model, self.tokenizer, self.limit).goes_on(prompts[0], max_new_tokens, continuation)
        if plan.of_model:
            asked = steps_of(done, contrast=contrast)
            steps = [self.attribute(read, plan, target, None, memory_budget) for read, target in asked]
            return of_steps(done, steps, contrast=contrast)
        read = until(done.inputs, done.inputs.length - 1)
        ((whole,),) = self._explained([read], [plan], None, layers, 1)
        return of_maps(done, whole)

    def compare(
        self,
        source: Source,
        methods: Sequence[str],
        *,
        query: int | str | None = None,
        target: Asked = None,
        truncate: bool = False,
        sampling_rate: int | None = None,
    ) -> Comparison:
        """Several methods on one text, measured in one run of the model.

        Args:
            source: A text, a pair of texts, or model inputs for one sequence.
            methods: Recipes, or mixing maps (of which the last layer is taken); options as in ``explain`` do not apply.
            query: The token whose row is compared; left out, the first one, or the last of a causal model. Methods of
                the whole model explain what a language model says at it, or else the score of a class.
            target: The class or token that methods of the whole model explain; left out, the predicted one.
            truncate: Cut a text that is too long instead of refusing it.
            sampling_rate: Samples per second, for a sound that does not say it.

        Returns:
            The row of each method, and their rank correlations.

        Raises:
            UnknownName: If a method does not exist.
            BadOption: If fewer than two methods are named, or one twice.

        Example:
            >>> import contextmix
            >>> found = contextmix.load("demo").compare("a good film", ["globenc", "attention_rollout"])
            >>> found.spearman.shape
            (2, 2)
        """
        plans = plans_to_compare(methods)
        sequences = self.encode(source, truncate=truncate, sampling_rate=sampling_rate)
        if len(sequences) != 1:
            raise BadInput(f"A comparison is of one text; {len(sequences)} were given. Compare them one by one.")
        inputs = sequences[0]
        query = self.usual_query if query is None else query
        place = query if speaks(self.model) else None
        mixing = [plan for plan in plans if isinstance(plan.method, Method)]
        whole = {
            plan.name: self.attribute(inputs, plan, target, place, MEMORY_BUDGET)
            for plan in plans
            if plan not in mixing
        }
        (found,) = self._explained([inputs], mixing, query, [-1], 1) if mixing else [[]]
        rows = whole | {plan.name: one.layer(-1) for plan, one in zip(mixing, found, strict=True)}
        return Comparison({plan.name: rows[plan.name] for plan in plans})

    def explore(
        self,
        source: Any,
        methods: Sequence[str] | None = None,
        *,
        heads: bool = False,
        query: int | str | None = None,
        target: Asked = None,
        layers: Literal["all"] | Sequence[int] = "all",
        options: Mapping[str, Mapping[str, Any]] | None = None,
        truncate: bool = False,
        sampling_rate: int | None = None,
        memory_budget: int = MEMORY_BUDGET,
        progress: exploring.Progress | None = None,
    ) -> Any:
        """The full maps of several methods, to look into: in a notebook, or as an HTML file with ``.save("x.html")``.

        One run of the model serves all mixing maps and recipes; each method of the whole model runs it again.

        Args:
            source: A text, a pair of texts, an image, a sound, model inputs, or a list of these.
            methods: Recipes, mixing maps, and methods of the whole model; the first one is shown first. Left out, what
                one run gives (GlobEnc, ALTI's and attention rollout, and the maps of N_Enc and attention), and
                gradient × input where the model has a score to explain.
            heads: Whether attention, norm and effective attention keep heads apart.
            query: The token that is looked at first, whose scores methods of the whole model explain if the model has
                scores at each token. Left out, the first one, the last of a causal model, or the only mask.
            target: The class or token that methods of the whole model explain; left out, the predicted one.
            layers: Blocks to keep; left out, all.
            options: Method → its options, such as ``{"value_zeroing": {"distance": "euclidean"}}``.
            truncate: Cut texts and sounds that are too long instead of refusing them.
            sampling_rate: Samples per second, for a sound that does not say it.
            memory_budget: Bytes that a method of the whole model may use for its own tensors.
            progress: Called as ``progress(done, what)`` before each step, with ``done`` from 0 to 1. What it raises
                ends the work, and leaves the model as it was.

        Returns:
            An `Exploration`; for a list or a batch of model inputs, a list of them in order.

        Raises:
            UnknownName: If a method or an option does not exist.
            UnknownToken: If there is no such query.
            BadOption: If a target is given that no method explains, or heads that no method keeps apart.
            UnsupportedModel: If the model cannot be read, or by a method.

        Example:
            >>> import contextmix
            >>> found = contextmix.load("demo").explore("a good film", ["value_zeroing", "attention"], heads=True)
            >>> {name: one.dims for name, one in found.maps.items()}
            {'value_zeroing': ('layer', 'query', 'key'), 'attention': ('layer', 'head', 'query', 'key')}
        """
        plans = exploring.plans_to_explore(exploring.USUAL if methods is None else methods, heads, options)
        if_scored = [make_plan(exploring.OF_SCORE)] if methods is None else []
        exploring.refuse_idle_target([*plans, *if_scored], target)
        inputs = self.encode(source, truncate=truncate, sampling_rate=sampling_rate)
        _refuse_query(inputs, query)
        depth = len(self._subject(inputs[0]).anatomy)
        steps = exploring.Steps(len(inputs) * len([*plans, *if_scored]), depth, progress)
        asked = exploring.Request(plans, if_scored, query, target, layers, memory_budget, steps)
        many = _is_many(source)
        sources = [None] * len(inputs) if many and isinstance(source, Mapping) else source if many else [source]
        found = [self._explored(one, over, asked) for one, over in zip(inputs, sources, strict=True)]
        steps.end()
        return found if many else found[0]

    def check(self, source: Any = None) -> CheckReport:
        """Prove that this model can be read: anatomy, conservation, block equation and parity.

        Args:
            source: A text or model inputs; left out, a short probe.

        Raises:
            UnsupportedModel: If its blocks cannot be read.
            TraceDoesNotAddUp: If a check fails.
        """
        tensors = self._probe() if source is None else next(batches(self.encode(source), 1))[1]
        heads: list[int] = []
        outputs, checks = self._record(tensors, lambda layer: heads.append(layer.attention.shape[-3]), last_logits=0)
        with self._lock:
            difference = parity(self.model, self._on_device(tensors), outputs)
        return CheckReport(self.origin.model, self.anatomy(), heads[0], checks, difference)

    # For whoever runs many inputs: `contextmix.run` and the experiments ----------------------------------------------

    def measure_batch(
        self, tensors: Mapping[str, Tensor], plans: Sequence[Plan], wanted: Wanted | None = None
    ) -> BatchMaps:
        """Several mixing maps of one batch of sequences of equal length, in one run of the model.

        Args:
            tensors: Model inputs with a batch axis, without padding.
            plans: Mixing maps, with or without an aggregation.
            wanted: Whether a plan needs a layer; None for all.
        """
        visit = Measuring(plans, wanted)
        outputs, checks = self._record(tensors, visit)
        return BatchMaps(plans, visit.found, outputs, checks)

    def attribute(
        self,
        one: Inputs,
        plan: Plan,
        target: Asked,
        position: int | str | None,
        memory_budget: int = MEMORY_BUDGET,
        tick: Callable[[], None] | None = None,
    ) -> TokenMap:
        """One attribution of the whole model; see `contextmix.attribution`."""
        return self.attribute_all(one, [plan], target, position, memory_budget, tick)[0]

    def attribute_all(
        self,
        one: Inputs,
        plans: Sequence[Plan],
        target: Asked,
        position: int | str | None,
        memory_budget: int = MEMORY_BUDGET,
        tick: Callable[[], None] | None = None,
    ) -> list[TokenMap]:
        """Several attributions of the same score, which share one run of the model."""
        with self._lock, refusals(self.model):
            return list(attributed(self._subject(one), one, plans, target, position, memory_budget, tick))

    def labels(self, one: Inputs, count: int) -> Tokens:
        """The labels of an input, of which a run has shown ``count`` tokens."""
        if one.tokens is not None:
            return one.tokens
        with self._lock:
            return one.labels(self.model, self.anatomy(), count)

    def prediction(self, outputs: Any, row: int, tokens: Tokens) -> dict[str, Any]:
        """What the model's head says, with its probability: the class, the next token, or the masked one."""
        logits = getattr(outputs, "logits", None)
        if not isinstance(logits, Tensor):
            return {}
        if logits.ndim == 2:
            known = len(self.model.config.id2label or {})
            classes = logits.shape[-1] >= 2 and logits.shape[-1] == known
            return said(self._subject(), logits[row], tokens, None) if classes else {}
        if logits.ndim != 3 or not speaks(self.model):
            return {}
        found = [len(tokens) - 1] if self.is_causal else masks(self.tokenizer, tokens)
        whole = logits.shape[1] == len(tokens)  # or the last token's alone
        if len(found) != 1 or not (whole or self.is_causal):
            return {}
        return said(self._subject(), logits[row, found[0] if whole else -1], tokens, found[0])

    # Private ---------------------------------------------------------------------------------------------------------

    def _explored(self, one: Inputs, over: Any, asked: exploring.Request) -> Exploration:
        """One input: all mixing maps first, in one run, then the attributions of the whole model."""
        maps: dict[str, TokenMap] = {}
        if asked.mixing:
            (found,) = self._explained([one], asked.mixing, None, asked.layers, 1, asked.steps)
            maps = {plan.name: each for plan, each in zip(asked.mixing, found, strict=True)}
        position = asked.query if scores_tokens(self.model) else None
        # A target that cannot be explained is refused by the method, not forgotten.
        scored = asked.target is not None or any("prediction" in each.provenance.notes for each in maps.values())
        for plan in asked.whole(scored):
            asked.steps.whole(plan)
            tick = partial(asked.steps.still, plan.name)
            maps[plan.name] = self.attribute(one, plan, asked.target, position, asked.memory_budget, tick)
        tokens = next(iter(maps.values())).tokens
        row = self._first_query(tokens) if asked.query is None else tokens.position(asked.query)
        return asked.gathered(maps, row, over)

    def _first_query(self, tokens: Tokens) -> int:
        """The token that is looked at first: the only mask, or the usual one."""
        found = masks(self.tokenizer, tokens) if speaks(self.model) and not self.is_causal else []
        return found[0] if len(found) == 1 else self.usual_query % len(tokens)

    def _explained(
        self,
        inputs: Sequence[Inputs],
        plans: Sequence[Plan],
        query: int | str | None,
        layers: Any,
        batch_size: int,
        steps: exploring.Steps | None = None,
    ) -> list[list[TokenMap]]:
        """For each sequence one result per plan; the model runs once per batch, whatever the number of plans."""
        _refuse_query(inputs, query)
        results: list[list[TokenMap]] = [[] for _ in inputs]
        for positions, tensors in batches(inputs, batch_size):
            found = self.measure_batch(tensors, plans, None if steps is None else steps.layer)
            for which, plan in enumerate(plans):
                if steps is not None and plan.aggregation is not None:
                    steps.still(f"{plan.name}, all layers")
                maps = found.maps(which)
                for row, position in enumerate(positions):
                    tokens = self.labels(inputs[position], maps.shape[-1])
                    said = _noted(self.prediction(found.outputs, row, tokens))
                    notes: dict[str, Any] = {**found.notes(which, row), **said}
                    made = self.origin.provenance(found.checks, **plan.describe()).noting(**notes)
                    results[position].append(plan.result(maps[:, row], tokens, made, query, layers))
        return results

    def _subject(self, one: Inputs | None = None) -> Subject:
        """What an attribution needs to know; the anatomy of what reads no token ids is found on its own input."""
        if one is None or "input_ids" in one.tensors:
            anatomy = self.anatomy()
        else:
            anatomy = self.anatomy({name: value.unsqueeze(0) for name, value in one.tensors.items()})
        causal = speaks(self.model) and self.is_causal
        return Subject(self.model, anatomy, self.tokenizer, causal, self.origin)

    def _record(
        self, tensors: Mapping[str, Tensor], visit: Callable[[LayerTrace], None], *, last_logits: int = 1
    ) -> tuple[Any, Checks]:
        with self._lock, refusals(self.model):
            anatomy = self.anatomy(
                None if "input_ids" in tensors else {name: value[:1] for name, value in tensors.items()}
            )
            return record(self.model, anatomy, self._on_device(tensors), visit, last_logits=last_logits)

    def _on_device(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.model.device) for name, value in tensors.items()}

    def _probe(self) -> dict[str, Tensor]:
        return default_probe(self.model, self.limit)


def is_pair(source: Any) -> bool:
    """Whether this is a pair of texts, which is one source."""
    return isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, str) for part in source)


def _is_many(source: Any) -> bool:
    if isinstance(source, Mapping):
        ids = source.get("input_ids", source.get("inputs_embeds"))
        return (
            not is_one_medium(source)
            if ids is None
            else torch.as_tensor(ids).ndim > (1 if "input_ids" in source else 2)
        )
    return not isinstance(source, str) and not is_pair(source) and not is_one_medium(source)


def _refuse_query(inputs: Sequence[Inputs], query: int | str | None) -> None:
    """Before the work, not after it; tokens of images and sounds are known only then."""
    for one in inputs:
        if query is not None and one.tokens is not None:
            one.tokens.position(query)


def _refuse_axes(name: str, **given: Any) -> None:
    for axis, value in given.items():
        if value is not None:
            raise BadOption(
                f"{name} explains one score of the whole model and has no {axis} to choose; got {axis}={value!r}."
            )


def _refuse_scores(name: str, **given: Any) -> None:
    for option, value in given.items():
        if value is not None:
            raise BadOption(
                f"{name} explains what a token's representation is made of, not a score, so {option}={value!r} means "
                "nothing to it. Leave it out, or use a method such as gradient_inputs or decompx."
            )


def _noted(prediction: Mapping[str, Any]) -> dict[str, Any]:
    return {"prediction": dict(prediction)} if prediction else {}


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers."""
    found = {}
    for name in ("contextmix", "torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree without installation
            found[name] = "unknown"
    return found
