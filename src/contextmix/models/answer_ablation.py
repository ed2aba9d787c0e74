"""What an answer loses without each of its sources: the reference that methods of one pass are measured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from contextmix.errors import BadInput, NotInVocabulary, refuse_kind
from contextmix.models.ablations import Away, Masks, SourcedAnswer
from contextmix.models.generate import refuse_other_models
from contextmix.models.loaded_model import LoadedModel
from contextmix.models.source_scores import Fitting, SourceScores, explain_sources
from contextmix.options.values import Progress
from contextmix.results.answer import Answer
from contextmix.results.grouping import unit_rows
from contextmix.results.provenance import Quantity

PRIOR_BY = "source_surrogate"
"""The surrogate that starts from what the answer's own method says of its sources."""


def ablated(
    loaded: LoadedModel,
    answer: Answer,
    method: str,
    away: Away | None,
    fitting: Fitting,
    progress: Progress | None = None,
) -> SourceScores:
    """See `TracedModel.ablate`."""
    refuse_kind("ablate: answer", answer, Answer)
    refuse_other_models(loaded.model)
    sourced = sourced_answer(loaded, answer)
    direct = answer.by(hops=0)  # the thoughts stay as they were written, so nothing goes through them
    prior = direct.values if method == PRIOR_BY and answer.token_map.quantity is Quantity.EVIDENCE else None
    asked = Fitting(fitting.masks, prior, fitting.penalty, fitting.seed)
    return explain_sources(loaded, sourced, method, away=away, units=units_of(answer), fitting=asked, progress=progress)


def sourced_answer(loaded: LoadedModel, answer: Answer) -> SourcedAnswer:
    """The tokens of an answer's sources, and its prompt without some of them.

    Raises:
        BadInput: If a source holds no token of its own, the answer was loaded without ids, or is longer than what the
            model reads.
        NotInVocabulary: If the model cannot say one of its tokens.
    """
    ids = answer.token_map.tokens.ids
    if ids is None:
        raise BadInput("The tokens of this answer have no ids, so the model cannot read them again.")
    _refuse_unreadable(loaded, ids)
    places = tuple(tuple(np.flatnonzero(answer.columns == one).tolist()) for one in range(len(answer.sources)))
    for source, tokens in zip(answer.sources, places, strict=True):
        if not tokens:
            raise BadInput(
                f"The source {source.text!r:.60} shares all of its tokens with its neighbours, so it cannot be taken "
                "away by itself. Cut the sources into longer pieces."
            )
    start = len(ids) - len(answer.token_map.query_tokens)
    read = _reader(loaded, answer.prompt, ids[:start])
    return SourcedAnswer(ids, start, places, lambda kept: read(_without(answer, kept)))


def _refuse_unreadable(loaded: LoadedModel, ids: Sequence[int]) -> None:
    """An answer of another model: tokens that this one does not know, or too many of them."""
    known = loaded.model.get_output_embeddings().weight.shape[0]  # type: ignore[no-untyped-call]
    for number in ids:
        if not 0 <= number < known:
            raise NotInVocabulary(number, known)
    if loaded.limit is not None and len(ids) - 1 > loaded.limit:  # the last token need not be read
        raise BadInput(
            f"Prompt and answer have {len(ids)} tokens, and the model reads at most {loaded.limit}. Was the answer "
            "made by another model?"
        )


def _reader(loaded: LoadedModel, prompt: str, ids: Sequence[int]) -> Callable[[str], Sequence[int]]:
    """How a prompt was read: with the special tokens of the tokenizer, or with those of its template alone.

    Raises:
        BadInput: If neither way gives the tokens that it has.
    """

    def read(text: str, add_special_tokens: bool | None) -> Sequence[int]:
        (found,) = loaded.encode(text, add_special_tokens=add_special_tokens)
        return (found.tokens and found.tokens.ids) or ()

    for end in (len(prompt), len(prompt.rstrip())):  # a space before the answer may be part of its first token
        for added in (None, False, True):
            if tuple(read(prompt[:end], added)) == tuple(ids):
                return lambda text: read(text[: len(text) - len(prompt) + end], added)
    raise BadInput(
        "The prompt of this answer is cut into other tokens when it is read again, so nobody knows what the model "
        "reads of a shorter one. Was the answer made by another model or tokenizer?"
    )


def units_of(answer: Answer) -> list[slice]:
    """Which tokens of the answer belong to each unit."""
    rows = unit_rows(answer.spoken, answer.units, answer.text)
    places = [np.flatnonzero(row) for row in rows]
    return [slice(int(one[0]), int(one[-1]) + 1) for one in places]


def _without(answer: Answer, kept: Masks) -> str:
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
