"""Answers of a data set, with what one pass says of each head and what ablations say of the sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextmix.datasets.reading.problems import problem_of
from contextmix.datasets.reading.rows import Row
from contextmix.datasets.reading.source import Source, open_questions, open_source
from contextmix.errors import BadOption, ContextMixError, UnknownName, UnsupportedModel
from contextmix.maths.ablations import answer_log_odds, context_cite, random_masks
from contextmix.maths.learned import Example
from contextmix.models.ablations import ablations_of
from contextmix.models.answer_ablation import sourced_answer
from contextmix.models.head_features import HeadFeatures, head_features
from contextmix.models.traced_model import TracedModel
from contextmix.plugins.sources import baselines
from contextmix.results.answer import Answer
from contextmix.traces.head_maps import Feature

Numbers = NDArray[np.float64]
HELD_OUT_SEED = 100_000
"""Of the masks that weights are judged by, far from those that anything is fitted on."""
FEWEST_SOURCES = 3
"""Of fewer there is next to nothing to order."""


@dataclass(frozen=True)
class Judged:
    """A held-out answer.

    Attributes:
        example: Its maps, other masks, and what the answer was worth under these.
        log_probs: (mask,): log p of the whole answer.
        scores: Name of a method → its scores (source,).
    """

    example: Example
    log_probs: Numbers
    scores: Mapping[str, Numbers]


class Learner:
    """A model that answers rows and is asked about them with sources taken away.

    Args:
        model: A causal language model.
        asked: The options of `contextmix.fit`.
    """

    def __init__(self, model: TracedModel, asked: Mapping[str, Any]) -> None:
        self.model, self.asked = model, asked
        self.feature: Feature = asked["feature"]
        self.shape: HeadFeatures | None = None

    def answered(self, row: Row) -> Answer:
        """The answer to a row; of a plain text what the model writes behind it, with its sentences as sources."""
        names = ("max_new_tokens", "generation", "sources", "add_special_tokens")
        how = {name: self.asked[name] for name in names} | {"units": "whole"}
        if row.asked is None:
            assert isinstance(row.text, str)  # pairs are refused with the row
            return self.model.explain_answer(row.text, [(0, len(row.text))], **how)
        if row.asked.answer is not None:
            how["generation"] = None  # nothing is written
        how |= {"template": self.asked["template"], "answer": row.asked.answer}
        return self.model.explain_answer(row.asked.question, row.asked.context, **how)

    def example(self, answer: Answer) -> Example:
        """What is learned from an answer."""
        maps = self._maps(answer)
        masks = random_masks(len(maps), self.asked["masks"], seed=self.asked["seed"])
        ask = ablations_of(self.model, sourced_answer(self.model, answer))
        return Example(maps, masks, answer_log_odds(ask(masks)))

    def judged(self, answer: Answer) -> Judged:
        """An answer that nothing is learned from, with the scores of the methods that stand beside."""
        maps, sourced = self._maps(answer), sourced_answer(self.model, answer)
        ask = ablations_of(self.model, sourced)
        masks = random_masks(len(maps), self.asked["masks"], seed=self.asked["seed"] + HELD_OUT_SEED)
        said = ask(masks)
        attention = head_features(self.model, answer, "attention").values if self.feature != "attention" else maps
        scores = {
            f"mean of {self.feature}": maps.mean(1),
            "attention": attention.mean(1),
            "evidence": answer.by(units="whole").values[0],
            "recency": baselines([len(one) for one in sourced.sources])["recency"],
        }
        for passes in self.asked["passes"]:
            tried = random_masks(len(maps), passes, seed=self.asked["seed"])
            scores[f"context_cite, {passes} passes"] = context_cite(tried, ask(tried)).weights
        return Judged(Example(maps, masks, answer_log_odds(said)), said.sum(1), scores)

    def _maps(self, answer: Answer) -> Numbers:
        found = head_features(self.model, answer, self.feature)
        self.shape = self.shape or found
        return found.values


def source_of(data: Any, asked: Mapping[str, Any]) -> Source:
    """The rows: questions, or plain texts where their column is named."""
    rows = {name: asked[name] for name in ("id_field", "split", "limit")}
    questions = {name: asked[name] for name in ("question_field", "context_field", "answer_field")}
    if asked["text_field"] is None:
        return open_questions(data, **questions, **rows)
    if named := [name for name, value in questions.items() if value is not None]:
        raise BadOption(f"text_field names plain texts, and {', '.join(named)} questions. Give one kind.")
    return open_source(data, text_field=asked["text_field"], **rows)


def answers_of(
    learner: Learner, source: Source, told: Callable[[int], None]
) -> tuple[list[tuple[int, Answer]], dict[str, int]]:
    """All rows that can be answered, with at least so many sources as can be ordered, and why others were not.

    Raises:
        BadOption, UnknownName, UnsupportedModel: What is no fault of a row.
    """
    found: list[tuple[int, Answer]] = []
    problems: dict[str, int] = {}
    for row in source.rows(0, source.count):
        answer = _answered(learner, row)
        if isinstance(answer, Answer):
            found.append((row.number, answer))
        else:
            problems[answer] = problems.get(answer, 0) + 1
        told(row.number)
    return found, problems


def _answered(learner: Learner, row: Row) -> Answer | str:
    if row.problem is not None:
        return row.problem.reason
    try:
        answer = learner.answered(row)
        sourced_answer(learner.model, answer)  # each source has a token of its own
    except (BadOption, UnknownName, UnsupportedModel):
        raise
    except (ContextMixError, MemoryError, RuntimeError) as failure:
        problem = problem_of(failure)
        if problem is None:
            raise
        return problem.reason
    if len(answer.sources) < FEWEST_SOURCES:
        return f"fewer than {FEWEST_SOURCES} sources, of which there is nothing to order"
    return answer


def parted(count: int, held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Which answers are learned from, and which are held out, drawn by chance.

    Example:
        >>> parted(5, 2, seed=0)
        ([0, 1, 3], [2, 4])
    """
    drawn = np.random.default_rng(seed).permutation(count)[:held_out].tolist()
    return [place for place in range(count) if place not in drawn], sorted(drawn)


def each(places: Sequence[int], found: Sequence[tuple[int, Answer]]) -> Iterator[Answer]:
    """The answers at some places."""
    return (found[place][1] for place in places)
