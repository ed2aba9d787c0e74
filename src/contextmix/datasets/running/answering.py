"""The task of a run over questions: answers and their sources, as `explain_answer` gives them, one row at a time.

Prompts of many sources are long, so a batch of them would fill no gap that one leaves; and an answer that the model
writes ends where it ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa
import torch

from contextmix.datasets.reading.problems import problem_of
from contextmix.datasets.reading.rows import Row
from contextmix.datasets.reading.source import Source, open_questions
from contextmix.datasets.running.task import Outcome, Task, Waiting
from contextmix.datasets.storage.answer_settings import AnswerSettings
from contextmix.datasets.storage.answer_table import SCHEMA, Answered, as_table, maps_of
from contextmix.datasets.storage.identity import model_identity
from contextmix.errors import BadOption, ContextMixError, UnknownName, UnsupportedModel
from contextmix.models.traced_model import TracedModel
from contextmix.options.option import declared
from contextmix.options.sets import Asking, Reading, Scoring, Working
from contextmix.options.values import ANSWERS_SIZE, OF_SCORE
from contextmix.plugins.selection import spelled
from contextmix.results.answer import Answer
from contextmix.tracing.inputs.placing import refuse_template
from contextmix.tracing.recording.offload import device_of

OF_SETTINGS = (BadOption, UnknownName, UnsupportedModel)
"""Refusals that are no fault of a row: the next one would be refused too."""
_SHARED = ("label_field", "id_field", "split", "limit")
"""What is read of questions as of texts."""


class Answerer:
    """A model that answers the questions of rows.

    Args:
        model: The model.
        settings: How they are answered.
        batch_tokens: Has no use here: one row is answered at a time.
        memory_budget: Bytes that a method of the whole model may use.

    Raises:
        BadOption: If the template lacks a place.
    """

    def __init__(self, model: TracedModel, settings: AnswerSettings, batch_tokens: int, memory_budget: int) -> None:
        refuse_template(settings.template)
        self.model, self.settings, self.memory_budget = model, settings, memory_budget

    @property
    def identity(self) -> dict[str, Any]:
        """The model, with its template for chats and how it writes."""
        config = getattr(self.model.model, "generation_config", None)
        written = {} if config is None else config.to_dict()
        written.pop("transformers_version", None)
        template = getattr(self.model.tokenizer, "chat_template", None)
        more = {"chat_template": template, "generation": written}
        return {**model_identity(self.model), **{name: _hash(value) for name, value in more.items()}}

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table."""
        return SCHEMA

    def described(self) -> dict[str, Any]:
        """The same columns for every run."""
        return {"columns": {}, "metrics": {}}

    def read(self, rows: Sequence[Row]) -> list[Waiting | Answered]:
        """Rows that can be answered; those with a problem are results already."""
        return [Waiting(row) if row.problem is None else Answered(row, problem=row.problem) for row in rows]

    def batches(self, ready: Sequence[Waiting]) -> list[list[Waiting]]:
        """One at a time, in order."""
        return [[one] for one in ready]

    def measure(self, batch: Sequence[Waiting]) -> list[Outcome]:
        """Answer questions; a row that is refused is a result with a problem."""
        return [self._outcome(one.row) for one in batch]

    def try_rows(self, rows: Sequence[Row]) -> None:
        """Answer the first question that can be, one whose answer the model writes where there is one.

        Raises:
            ContextMixError: If one of `OF_SETTINGS` comes before.
        """
        good = [row for row in rows if row.problem is None]
        for row in sorted(good, key=lambda row: row.asked is not None and row.asked.answer is not None):
            if self._outcome(row, passed=OF_SETTINGS).result.problem is None:
                return

    def table(self, results: Sequence[Answered]) -> pa.Table:
        """Results as rows of the table."""
        return as_table(results)

    def _outcome(self, row: Row, passed: tuple[type[ContextMixError], ...] = ()) -> Outcome:
        """A row answered or refused; errors that are passed end the run."""
        try:
            found = self._answer(row)
        except passed:
            raise
        except (ContextMixError, MemoryError, RuntimeError) as failure:
            problem = problem_of(failure)
            if problem is None:
                failure.add_note(f"This happened at {row.where}.")
                raise
            return Outcome(Answered(row, problem=problem), {})
        maps = maps_of(found)
        return Outcome(Answered(row, found), {f"{row.number}/{name}": values for name, values in maps.items()})

    def _answer(self, row: Row) -> Answer:
        """What is drawn at random depends on the row alone, so an answer comes out the same whenever it is made."""
        asked = row.asked
        assert asked is not None
        device = device_of(self.model.model)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(row.number)
            more = {"answer": asked.answer, "memory_budget": self.memory_budget, **self.settings.asked}
            if asked.answer is not None:
                more["generation"] = None  # nothing is written
            return self.model.explain_answer(asked.question, asked.context, **more)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _settings(asked: Mapping[str, Any]) -> AnswerSettings:
    """What decides the numbers."""
    names = spelled(OF_SCORE if asked["methods"] is None else asked["methods"])
    if len(names) != 1:
        raise BadOption(
            f"An answer is explained by one method; got {len(names)}: {', '.join(names)}. Use one method per run, "
            f"each in its own folder."
        )
    (method,) = names
    options = {owner.replace("-", "_"): dict(chosen) for owner, chosen in (asked["options"] or {}).items()}
    others = sorted(options.keys() - {method})
    if others:
        raise BadOption(f"Got options for {', '.join(others)}, but answers are explained by {method}.")
    given = {one.name: asked[one.name] for one in fields(AnswerSettings) if one.name in asked}
    size = ANSWERS_SIZE if asked["shard_size"] is None else asked["shard_size"]
    return AnswerSettings(**{**given, "method": method, "options": options.get(method, {}), "shard_size": size})


def _source(data: Any, asked: Mapping[str, Any], _: AnswerSettings) -> Source:
    return open_questions(data, **{name: asked[name] for name in (*declared(Asking), *_SHARED)})


_FOREIGN = {name: one for name, one in declared(Reading).items() if name not in _SHARED}
_FOREIGN |= {**declared(Scoring), "batch_tokens": declared(Working)["batch_tokens"]}
ANSWER = Task("answer", "demo-answers", _settings, _source, Answerer, _FOREIGN, lambda count: ANSWERS_SIZE)
