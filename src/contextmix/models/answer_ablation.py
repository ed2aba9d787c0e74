"""What an answer loses without each of its sources: the reference that methods of one pass are measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from contextmix.errors import BadInput, BadOption, NotInVocabulary, refuse_kind
from contextmix.maths.whole import plain, whole_number
from contextmix.models.ablations import Away, SourcedAnswer
from contextmix.models.answer_rewriting import reading_of, rewritten, without_sources
from contextmix.models.generate import refuse_other_models
from contextmix.models.loaded_model import LoadedModel
from contextmix.models.source_scores import FITTED, Fitting, SourceScores, explain_sources, refuse_ablation
from contextmix.options.option import declared
from contextmix.options.values import Progress
from contextmix.options.verbs import Ablating
from contextmix.results.answer import Answer
from contextmix.results.grouping import unit_rows
from contextmix.results.losses import Losses
from contextmix.results.provenance import Quantity

PRIOR_BY = "source_surrogate"
"""The surrogate that starts from what the answer's own method says of its sources."""


def ablated(
    loaded: LoadedModel,
    answer: Answer,
    method: str,
    away: Away | None,
    fitting: Fitting,
    rewrite: int | Sequence[int] = 0,
    progress: Progress | None = None,
) -> SourceScores:
    """See `TracedModel.ablate`."""
    refuse_kind("ablate: answer", answer, Answer)
    refuse_other_models(loaded.model)
    refuse_ablation(method, away, fitting)
    chosen = sources_to_rewrite(answer, rewrite)
    direct = answer.by(hops=0)  # the thoughts stay as they were written, so nothing goes through them
    sourced, whole = sourced_answer(loaded, answer), direct.by(units="whole")
    fitted, prior = method in FITTED, answer.token_map.quantity is Quantity.EVIDENCE and method == PRIOR_BY
    also = [] if answer.units[0].span == whole.units[0].span else [whole]
    asked = replace(fitting, prior=np.concatenate([one.values for one in (direct, *also)]) if prior else None)
    units, tokens = units_of(answer), [slice(place, place + 1) for place in range(len(sourced.ids) - sourced.start)]
    rows = [*units, *[units_of(each)[0] for each in also]] if fitted else [*units, *tokens]  # tokens make any other cut
    told = _part(progress, 0.0, 0.7 if chosen else 1.0)
    found = explain_sources(loaded, sourced, method, away=away, units=rows, fitting=asked, progress=told)
    own, says = rewritten(loaded, answer, chosen, _part(progress, 0.7, 1.0)) if chosen else ("", {})
    count = len(units)
    losses = Losses(
        method=method,
        away=found.away,
        sources=tuple((one.document, *one.span) for one in answer.sources),
        values=found.values if fitted else found.values[count:],
        parts=tuple(one.span for one in (*answer.units, *(each.units[0] for each in also))) if fitted else None,
        passes=found.passes,
        held_out_lds=found.held_out_lds,
        says=says,
        own=own,
    )
    return replace(
        found,
        values=found.values[:count],
        held_out_lds=found.held_out_lds[:count],
        penalties=found.penalties[:count],
        answer=replace(answer, losses=losses),
    )


def refuse_idle_ablation(how: Mapping[str, Any]) -> None:
    """Options of `TracedModel.explain_answer` that say how sources are taken away, before any work.

    Raises:
        UnknownName, BadOption: If none are taken away, or not like that.
    """
    if how["ablate"] is not None:
        refuse_ablation(how["ablate"], how["away"], Fitting(how["masks"]))
        return
    for name, one in declared(Ablating).items():
        if how[name] != one.option.default:
            raise BadOption(
                f"{name}={how[name]!r:.60} says how to remove sources, but none are removed. Add "
                f"ablate='source_occlusion', or leave out {name}."
            )


def sources_to_rewrite(answer: Answer, rewrite: int | Sequence[int]) -> list[int]:
    """The sources without which the model writes its answer again: those that were named, or the strongest cited ones.

    Raises:
        BadOption: If there is no such source, or fewer than none are asked for.
    """
    count, number = len(answer.sources), whole_number(rewrite)
    if number is not None and number >= 0:
        cited, weights = answer.citations().notes, answer.by(units="whole").shares[0]
        return sorted(cited, key=lambda place: (-weights[place], place))[:number]
    named = None if number is not None else [whole_number(one) for one in plain(rewrite)]
    if named is None or any(one is None or not -count <= one < count for one in named):
        raise BadOption(
            f"rewrite={rewrite!r:.60}: give the number of cited sources to delete (0 or more), or positions of "
            f"sources; this answer has {count} sources."
        )
    return list(dict.fromkeys(one % count for one in named if one is not None))


def _part(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """A part of the whole progress."""
    if progress is None:
        return None
    return lambda done, what: progress(start + (stop - start) * done, what)


def sourced_answer(loaded: LoadedModel, answer: Answer) -> SourcedAnswer:
    """The tokens of an answer's sources, and its prompt without some of them.

    Raises:
        BadInput: If a source holds no token of its own, the answer was loaded without ids, or is longer than what the
            model reads.
        NotInVocabulary: If the model cannot say one of its tokens.
    """
    ids = answer.token_map.tokens.ids
    if ids is None:
        raise BadInput("The tokens of this answer have no ids, so the model cannot be run on them again.")
    _refuse_unreadable(loaded, ids)
    places = tuple(tuple(np.flatnonzero(answer.columns == one).tolist()) for one in range(len(answer.sources)))
    for source, tokens in zip(answer.sources, places, strict=True):
        if not tokens:
            raise BadInput(
                f"The source {source.text!r:.60} shares all of its tokens with its neighbours, so it cannot be "
                f"removed on its own. Split the sources into longer pieces."
            )
    start = len(ids) - len(answer.token_map.query_tokens)
    reading = reading_of(loaded, answer.prompt, ids[:start])
    return SourcedAnswer(ids, start, places, lambda kept: reading.ids(without_sources(answer, kept)))


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


def units_of(answer: Answer) -> list[slice]:
    """Which tokens of the answer belong to each unit."""
    rows = unit_rows(answer.spoken, answer.units, answer.text)
    places = [np.flatnonzero(row) for row in rows]
    return [slice(int(one[0]), int(one[-1]) + 1) for one in places]
