"""AnsweringModel: a model that can be asked what made the tokens that it says, and which part of its prompt."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from contextmix.models.answer import explained_answer
from contextmix.models.answer_ablation import ablated, refuse_idle_ablation
from contextmix.models.answer_prompt import Question
from contextmix.models.generate import explained_as_one, explained_saying, refuse_steps, said_after
from contextmix.models.loaded_model import LoadedModel
from contextmix.models.source_scores import Fitting, SourceScores
from contextmix.options.answering import (
    METHOD_OF_ANSWERS,
    AblationMethod,
    AlsoRewrite,
    AnswerMethod,
    AnswerText,
    AwayBy,
    MaskCount,
    MaskSeed,
    Sources,
    Units,
)
from contextmix.options.catalogue import Aggregation, Memory, MethodName, ShownLayers, Told
from contextmix.options.option import parted, takes
from contextmix.options.sets import Encoding
from contextmix.options.values import MEMORY_BUDGET
from contextmix.options.verbs import AnswerOptions
from contextmix.options.writing import Continuation, Contrast, Generation, MaxNewTokens, Together
from contextmix.plugins.plan import make_plan
from contextmix.results.answer import Answer
from contextmix.results.token_map import TokenMap
from contextmix.tracing.inputs.sources import Source
from contextmix.tracing.recording.modes import undisturbed


class AnsweringModel(LoadedModel):
    """The verbs for what a model says; see `contextmix.TracedModel`, which has them."""

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
        """Which tokens made each new token? One row per token with which a causal language model continues.

        It writes by its own ``generate`` and settings, but samples only if ``generation`` asks for it.

        A mixing map or recipe gives the row of the token that said the new one, from one run over all tokens. A method
        of the whole model explains the new token's score, once per token. A continuation begins where the prompt ends:
        most texts begin with a space.

        Args:
            prompt: A text, a chat (a list of messages), or ``{"input_ids": …}`` of one sequence.
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
            >>> result = stories.explain_generation("Once upon a time, there was a", max_new_tokens=3)
            >>> result.query_tokens.pieces, result.shape
            ((' little', ' g', 'ir'), (3, 12))
        """
        reading, own = parted(Encoding, options, "explain_generation")
        mixing = aggregation is not None or layers is not None
        plan = make_plan(method or self.usual_method(mixing=mixing), aggregation, own)
        refuse_steps(plan, contrast=contrast, layers=layers, together=together)
        how = max_new_tokens, continuation, generation, reading["add_special_tokens"]
        done = said_after(self, prompt, *how)
        if together:
            return explained_as_one(self, plan, done, memory_budget, layers=layers)
        _, (found,) = explained_saying(self, [plan], done, memory_budget, contrast=contrast, layers=layers)
        return found

    @partial(takes, also=AnswerOptions)
    @undisturbed
    def explain_answer(  # noqa: D417
        self,
        question: Source,
        context: Any = None,
        answer: AnswerText = None,
        *,
        sources: Sources = "sentence",
        units: Units = "sentence",
        method: AnswerMethod = METHOD_OF_ANSWERS,
        progress: Told = None,
        **options: Any,
    ) -> Answer:
        """Which part of the prompt made this answer? The model's chat template places context and question.

        Args:
            question: A text; a chat (a list of messages); or with spans as context the whole prompt.
            context: Texts that the answer may draw from; or spans ``[(start, stop), …]`` of the prompt; or of a chat
                the texts in its messages. Left out: of a chat all messages but the last, else the question itself.
            options: Of the method and the aggregation.

        Returns:
            An `Answer`: units of the answer × sources, with their places, ``cite()`` and ``top()``. Methods that
            explain a score are summed over the tokens of a unit; of mixing maps it is the mean, over layers too.

        Raises:
            BadInput: If the context is empty, a text is altered by the template, spans do not fit, the model has no
                template for a chat, or the answer holds no token.
            SourcesDoNotFit: If context and answer are longer than what the model reads.
            BadOption: If there is no such way to cut, or no such template.
            UnsupportedModel: If the model does not go on with texts, or cannot be read.

        Example:
            >>> import contextmix
            >>> texts = ["Tom has the blue kite. The sun was hot.", "Lily has the red ball."]
            >>> print(contextmix.load("demo-answers").explain_answer("Who has the red ball?", texts).cite())
            Lily has the red ball.[1]
            <BLANKLINE>
            [1] Lily has the red ball. (text 2)
        """
        how, own = parted(AnswerOptions, options, "explain_answer")
        refuse_idle_ablation(how)
        plan, asked = make_plan(method, None, own), Question(question, context, answer, sources, units, how)
        if progress is not None:
            progress(0.0, "asking the model and tracing its answer")
        found = explained_answer(self, plan, asked)
        if how["ablate"] is None:
            return found
        taken = ablated(self, found, how["ablate"], how["away"], Fitting(how["masks"]), how["rewrite"], progress)
        return replace(found, losses=taken.answer.losses)

    @takes
    def ablate(  # noqa: D417
        self,
        answer: Answer,
        method: AblationMethod = "source_occlusion",
        *,
        away: AwayBy = None,
        masks: MaskCount = 64,
        seed: MaskSeed = 0,
        rewrite: AlsoRewrite = 0,
        progress: Told = None,
    ) -> SourceScores:
        """What an answer loses without its sources: the reference for methods of one pass, at a pass per source.

        Args:
            answer: From `explain_answer` of this model; its sources are taken away, its units are what may be lost.

        Returns:
            (unit, source) in nats of log-probability, of ``"context_cite"`` in log-odds; of surrogates with the
            Spearman correlation of what they predict for masks that they were not fitted on. Their ``answer`` is the
            same answer with them, which shows and saves them, and what the model says where it wrote again without a
            source.

        Raises:
            UnknownName: If there is no such method.
            BadOption: If the method does not take sources away like that, or scikit-learn is missing.
            BadInput: If a source holds no token of its own.

        Example:
            >>> import contextmix
            >>> model = contextmix.load("demo-answers")
            >>> texts = ["Tom has the blue kite.", "Lily has the red ball."]
            >>> answer = model.explain_answer("Who has the red ball?", texts)
            >>> lost = model.ablate(answer)
            >>> bool(lost.values[0, 1] > lost.values[0, 0]), lost.passes
            (True, 3)
        """
        return ablated(self, answer, method, away, Fitting(masks=masks, seed=seed), rewrite, progress)
