"""What a model would have said without a source: its text is deleted, and the model writes again as it did before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from contextmix.errors import BadInput
from contextmix.models.ablations import Masks
from contextmix.models.generate import said_after
from contextmix.models.loaded_model import LoadedModel
from contextmix.options.values import Progress
from contextmix.results.answer import Answer
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.thoughts import MARKERS
from contextmix.tracing.inputs.replies import with_reply
from contextmix.tracing.inputs.thinking import thinking_in
from contextmix.tracing.runs.generate import Generated


@dataclass(frozen=True)
class Reading:
    """How the prompt of an answer was read.

    Attributes:
        loaded: The model.
        left_out: How many characters at its end are no part of it: a space may belong to the answer's first token.
        add_special_tokens: With those of the tokenizer, or with those of its template alone.
    """

    loaded: LoadedModel
    left_out: int
    add_special_tokens: bool | None

    def text(self, prompt: str) -> str:
        """What is read of a prompt."""
        return prompt[: len(prompt) - self.left_out]

    def ids(self, prompt: str) -> Sequence[int]:
        """Its tokens."""
        return self.tokens(prompt).ids or ()

    def tokens(self, prompt: str) -> Tokens:
        """The same with their labels."""
        (found,) = self.loaded.encode(self.text(prompt), add_special_tokens=self.add_special_tokens)
        assert found.tokens is not None  # of a text there are some
        return found.tokens


def reading_of(loaded: LoadedModel, prompt: str, ids: Sequence[int]) -> Reading:
    """How a prompt was read to have these tokens.

    Raises:
        BadInput: If no way gives them.
    """
    for left_out in (0, len(prompt) - len(prompt.rstrip())):
        for added in (None, False, True):
            found = Reading(loaded, left_out, added)
            if tuple(found.ids(prompt)) == tuple(ids):
                return found
    raise BadInput(
        "Reading the prompt of this answer again gives different tokens, so it is unclear what the model would read "
        "of a shorter one. Was the answer made by another model or tokenizer?"
    )


def without_sources(answer: Answer, kept: Masks) -> str:
    """The prompt without the text of some sources; one space or line break stays where a source stood."""
    spans = [answer.passages[one.document].place(one.span) for one in answer.sources]
    gone = sorted(span for span, stays in zip(spans, kept.tolist(), strict=True) if not stays)
    text, at = "", 0
    for start, stop in gone:
        text += answer.prompt[at:start]
        while answer.prompt[stop : stop + 1].isspace() and (not text or text[-1:].isspace()):
            stop += 1
        at = max(at, stop)
    return text + answer.prompt[at:]


def rewritten(
    loaded: LoadedModel, answer: Answer, chosen: Sequence[int], progress: Progress | None = None
) -> tuple[str, dict[int, str]]:
    """What the model says with all sources, and without each of some; nothing where no prompt is left.

    An answer that was given is as long as the model may write, and what it says with all sources is asked too.

    Args:
        loaded: The model of the answer.
        answer: Its settings are those by which the model wrote it.
        chosen: Positions of sources.
        progress: Called before each.
    """
    ids = answer.token_map.tokens.ids or ()
    count = len(answer.token_map.query_tokens)
    reading = reading_of(loaded, answer.prompt, ids[: len(ids) - count])
    settings = dict(answer.provenance.notes["generation"].get("settings") or {})
    most = settings.pop("max_new_tokens", count)

    def says(prompt: str, what: str, done: float) -> str:
        if progress is not None:
            progress(done, what)
        now = said_after(loaded, reading.text(prompt), most, None, settings, reading.add_special_tokens)
        return _answer_of(reading, prompt, now, answer)

    own = answer.text if settings else says(answer.prompt, "writing with all sources", 0.0)
    found: dict[int, str] = {}
    for number, place in enumerate(chosen):
        left = without_sources(answer, np.arange(len(answer.sources)) != place)
        if reading.text(left).strip():
            what = f"writing without source {number + 1} of {len(chosen)}"
            found[place] = says(left, what, number / len(chosen))
    return own, found


def _answer_of(reading: Reading, prompt: str, now: Generated, answer: Answer) -> str:
    """What was written behind the thoughts, or all of it where thoughts do not end."""
    tokenizer, read = reading.loaded.tokenizer, reading.tokens(prompt)
    tokens = with_reply(tokenizer, read, now.tokens, None, reading.add_special_tokens)
    begins = len(reading.text(prompt))
    if answer.thinking is not None:
        ends = answer.provenance.notes["answer"].get("thoughts", MARKERS)
        with suppress(BadInput):
            begins = thinking_in(tokenizer, tokens, now.start, begins, ends)[1]
    return str(tokens.text)[begins:]
