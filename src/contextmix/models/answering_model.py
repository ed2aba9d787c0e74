"""AnsweringModel: a model that can be asked which part of its prompt made an answer."""

from __future__ import annotations

from functools import partial
from typing import Any

from contextmix.models.answer import explained_answer
from contextmix.models.answer_prompt import Question
from contextmix.models.loaded_model import LoadedModel
from contextmix.options.answering import METHOD_OF_ANSWERS, AnswerMethod, AnswerText, Sources, Units
from contextmix.options.option import parted, takes
from contextmix.options.sets import AnswerOptions
from contextmix.plugins.plan import make_plan
from contextmix.results.answer import Answer
from contextmix.tracing.inputs.sources import Source
from contextmix.tracing.recording.modes import undisturbed


class AnsweringModel(LoadedModel):
    """The verb for answers; see `contextmix.TracedModel`, which has it."""

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
            >>> texts = ["Tom had a big dog.", "Lily had a red ball."]
            >>> stories = contextmix.load("demo-decoder")
            >>> print(stories.explain_answer("Lily wanted to play with her", texts, max_new_tokens=3).cite(most=1))
            ball.[1]
            <BLANKLINE>
            [1] Lily had a red ball. (text 2)
        """
        how, own = parted(AnswerOptions, options, "explain_answer")
        asked = Question(question, context, answer, sources, units, how)
        return explained_answer(self, make_plan(method, None, own), asked)
