"""TracedModel: a Hugging Face model that can be asked which tokens made what.

Here are the verbs. How a model is run is in `contextmix.models.loaded_model`, how runs become results in
`contextmix.models.one_stack`. The verb for answers is in `contextmix.models.answering_model`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import Unpack

from contextmix.maths.kept import kept
from contextmix.maths.shapes import cut
from contextmix.models.answering_model import AnsweringModel
from contextmix.models.check import CheckReport, checked
from contextmix.models.explain import explained, refuse_axes, refuse_scores
from contextmix.models.image_tower import ImageTower
from contextmix.models.one_stack import OneStack
from contextmix.options.catalogue import (
    AddSpecialTokens,
    Aggregation,
    BatchSize,
    ExploredMethods,
    MethodName,
    MethodNames,
    Position,
    Query,
    QueryOrAll,
    SamplingRate,
    ShownLayers,
    Target,
    Truncate,
)
from contextmix.options.option import filled, parted, takes
from contextmix.options.verbs import ExplainingImages, ExploreImagesOptions
from contextmix.plugins.plan import make_plan
from contextmix.results.comparison import Comparison
from contextmix.traces.trace import LayerTrace, Trace
from contextmix.tracing.inputs.encode import batches
from contextmix.tracing.inputs.sources import Source, is_many
from contextmix.tracing.recording.modes import undisturbed


class TracedModel(AnsweringModel):
    """A model that records, per layer, what its tokens mix; made by `contextmix.load`.

    Args:
        model: A loaded transformers model. It is never changed: every setting is restored after each run.
        tokenizer: Its tokenizer; None if inputs are given as tensors.
        processor: Its image processor or feature extractor; None for texts and tensors.
        name: For provenance.
        revision: For provenance.
        anatomy: Where its parts are; None to find out on the first run.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {cut(repr(self.origin.model))}: {type(self.model).__name__}>"

    @property
    def of_texts(self) -> TracedModel:
        """What reads texts: the model itself; of a model of two towers, one of them."""
        return self

    def query_of(self, source: Any) -> int:
        """The token of a source whose row is looked at first; see `usual_query`."""
        return self.usual_query

    @kept
    def image_tower(self) -> ImageTower:
        """What reads the images of a prompt; see ``tower=…`` of `explain`."""
        return ImageTower(self)

    @takes
    @undisturbed
    def trace(  # noqa: D417 (options are documented where they are declared)
        self,
        source: Any,
        *,
        truncate: Truncate = False,
        sampling_rate: SamplingRate = None,
        batch_size: BatchSize = 8,
        add_special_tokens: AddSpecialTokens = None,
    ) -> Any:
        """Run the model and keep what every layer mixed.

        Args:
            source: A text, a pair ``{"text": …, "text_pair": …}``, a chat (a list of messages), an image, a sound,
                images with a text ``{"image": …, "text": …}``, model inputs, or a list of these. In a list, two texts
                together are a pair; a tuple of two texts by itself is refused, because it may also be a batch.

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
        reading: Any = {"truncate": truncate, "sampling_rate": sampling_rate, "add_special_tokens": add_special_tokens}
        inputs = self.encode(source, **reading)
        traces: list[Trace | None] = [None] * len(inputs)
        for positions, tensors in batches(inputs, self.together(batch_size)):
            layers: list[LayerTrace] = []
            outputs, checks = self._record(tensors, layers.append)
            for row, position in enumerate(positions):
                own = tuple(layer[row] for layer in layers)
                tokens = self.labels(inputs[position], own[0].attention.shape[-1])
                traces[position] = Trace(tokens, own, checks, self.origin, self.prediction(outputs, row, tokens))
        return traces if is_many(source) else traces[0]

    @partial(takes, also=ExplainingImages)
    @undisturbed
    def explain(  # noqa: D417
        self,
        source: Any,
        method: MethodName = None,
        *,
        aggregation: Aggregation = None,
        query: QueryOrAll = None,
        layers: ShownLayers = None,
        target: Target = None,
        position: Position = None,
        truncate: Truncate = False,
        sampling_rate: SamplingRate = None,
        **options: Any,
    ) -> Any:
        """Which tokens made this? Measured layer by layer while the model runs; only the maps are kept.

        Args:
            source: A text, a pair ``{"text": …, "text_pair": …}``, a chat (a list of messages), an image, a sound,
                images with a text ``{"image": …, "text": …}``, model inputs, or a list of these. In a list, two texts
                together are a pair; a tuple of two texts by itself is refused, because it may also be a batch.
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
            >>> result = stories.explain("Once upon a time, there was a little girl named", "gradient_inputs")
            >>> result.provenance.notes["target"]
            ' Lily'
        """
        how, given = parted(ExplainingImages, options, "explain")
        mixing = aggregation is not None or query is not None or layers is not None
        alone, through = (how["tower"] == way for way in ("alone", "through"))
        if method is None:
            method = self.usual_method(mixing=mixing or alone, score=target is not None or position is not None)
            given = {**self.usual_options(method), **given}
        plan = make_plan(method, aggregation, given)
        reading: Any = {"truncate": truncate, "sampling_rate": sampling_rate}
        inputs = self.encode(source, **reading, add_special_tokens=how["add_special_tokens"])
        if plan.of_model:
            refuse_axes(plan, query=query, layers=layers)
        else:
            refuse_scores(plan, target=target, position=position)
        if alone:
            results = [self.image_tower.alone(one, plan, query, layers) for one in inputs]
        elif plan.of_model:
            results = [self.attribute(one, plan, target, position, how["memory_budget"]) for one in inputs]
        else:
            own = {name: how[name] for name in ("batch_size", "memory_budget")}
            results = [found for (found,) in explained(self, inputs, [plan], query, layers, **own)]
        if through:
            both = zip(results, inputs, strict=True)
            results = [self.image_tower.through(found, one, plan) for found, one in both]
        return results if is_many(source) else results[0]

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
        add_special_tokens: AddSpecialTokens = None,
    ) -> Comparison:
        """Several methods on one text, measured in one run of the model.

        Args:
            source: A text, a pair ``{"text": …, "text_pair": …}``, a chat, or model inputs for one sequence.
            methods: Recipes, or mixing maps (of which the last layer is taken); options as in ``explain`` do not apply.

        Returns:
            The row of each method, and their rank correlations.

        Raises:
            UnknownName: If a method does not exist.
            BadOption: If fewer than two methods are named, or one twice.

        Example:
            >>> import contextmix
            >>> result = contextmix.load("demo").compare("a good film", ["globenc", "attention_rollout"])
            >>> result.spearman.shape
            (2, 2)
        """
        stack = OneStack(self, truncate, sampling_rate, add_special_tokens=add_special_tokens)
        return stack.compare(source, methods, query, target)

    @takes
    @undisturbed
    def explore(self, source: Any, methods: ExploredMethods = None, **asked: Unpack[ExploreImagesOptions]) -> Any:
        """The full maps of several methods, to look into: in a notebook, or as an HTML file with ``.save("x.html")``.

        One run of the model serves all mixing maps and recipes; each method of the whole model runs it again.

        Args:
            source: A text, a pair ``{"text": …, "text_pair": …}``, a chat (a list of messages), an image, a sound,
                images with a text ``{"image": …, "text": …}``, model inputs, or a list of these. In a list, two texts
                together are a pair; a tuple of two texts by itself is refused, because it may also be a batch.
            methods: Recipes, mixing maps, and methods of the whole model; the first one is shown first. Left out, what
                one run gives (GlobEnc, ALTI's and attention rollout, and the maps of N_Enc and attention), and
                gradient × input where the model has a score to explain.
            asked: As declared in `contextmix.options.verbs.ExploreImagesOptions`.

        Returns:
            An `Exploration`; for a list or a batch of model inputs, a list of them in order.

        Raises:
            UnknownName: If a method or an option does not exist.
            UnknownToken: If there is no such query.
            BadOption: If a target is given that no method explains, or heads that no method keeps apart.
            UnsupportedModel: If the model cannot be read, or by a method.

        Example:
            >>> import contextmix
            >>> result = contextmix.load("demo").explore("a good film", ["value_zeroing", "attention"], heads=True)
            >>> {name: one.dims for name, one in result.maps.items()}
            {'value_zeroing': ('layer', 'query', 'key'), 'attention': ('layer', 'head', 'query', 'key')}
        """
        options = filled(ExploreImagesOptions, asked, "explore")
        reading = {name: options[name] for name in ("truncate", "sampling_rate", "add_special_tokens")}
        return OneStack(self, **reading, tower=options["tower"]).explore(source, methods, options)

    @undisturbed
    def check(self, source: Any = None) -> CheckReport:
        """Prove that this model can be read: anatomy, conservation, block equation and parity.

        Args:
            source: A text or model inputs; left out, a short probe.

        Raises:
            UnsupportedModel: If its blocks cannot be read.
            TraceDoesNotAddUp: If a check fails.
        """
        return checked(self, self._record, OneStack(self).probe(source))
