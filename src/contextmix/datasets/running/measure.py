"""From texts to scores: read them, put those of equal length together, run the model, keep what was asked for.

See `contextmix.datasets.running.task.Maker` for what a run relies on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from contextmix.datasets.reading.problems import OUT_OF_MEMORY, problem_of
from contextmix.datasets.reading.rows import Row
from contextmix.datasets.running.filling import Filler
from contextmix.datasets.running.judge import NOT_RANDOMISED, Judge, with_random_weights
from contextmix.datasets.running.scores import Draft, axes_of, columns_of, metrics_of
from contextmix.datasets.running.task import Outcome, Waiting
from contextmix.datasets.storage.identity import model_identity
from contextmix.datasets.storage.settings import GOLD, Settings
from contextmix.datasets.storage.table import Result, as_table, schema
from contextmix.errors import AmbiguousToken, BadOption, ContextMixError, NotFinite, UnknownToken
from contextmix.models.traced_encoder_decoder import TracedEncoderDecoder
from contextmix.models.traced_model import TracedModel
from contextmix.options.values import BATCH_TOKENS, MEMORY_BUDGET
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.heads import scores_tokens
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.targets import classes_of
from contextmix.tracing.inputs.texts import encode_all


@dataclass(frozen=True)
class Ready(Waiting):
    """A row that the tokenizer has read."""

    inputs: Inputs


class Measurer:
    """A model that measures rows as the settings say.

    Args:
        model: The model.
        settings: What is measured.
        batch_tokens: Tokens that run together at most.
        memory_budget: Bytes that a batch may take by estimate, beside the model.

    Raises:
        BadOption: If the model cannot be run on a data set of texts.
    """

    def __init__(
        self,
        model: TracedModel,
        settings: Settings,
        batch_tokens: int = BATCH_TOKENS,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        if isinstance(model, TracedEncoderDecoder):
            raise BadOption(
                f"{model.origin.model} is an encoder–decoder, whose rows are the tokens that it writes; a run keeps "
                "one row per text. Use model.explain for each text, or only its encoder: "
                "contextmix.load(model.get_encoder(), tokenizer)."
            )
        if model.tokenizer is None:
            raise BadOption("A run reads texts, but the model has no tokenizer. Pass one to contextmix.load.")
        if not isinstance(batch_tokens, int) or batch_tokens < 1:
            raise BadOption(f"batch_tokens={batch_tokens!r} must be a number of tokens, at least 1.")
        self.model, self.settings = model, settings
        # The next texts are read in another thread while this one runs, and truncation is a state of the tokenizer.
        self.tokenizer = copy.deepcopy(model.tokenizer)
        self.batch_tokens, self.memory_budget = batch_tokens, memory_budget
        self.filler = Filler(model, settings, memory_budget)
        self.mixing, self.count = self.filler.mixing, self.filler.count
        self.judge = Judge(model, settings)
        self.axes = {plan.name: len(axes_of(plan, settings)) for plan in settings.plans}
        for plan in self.mixing:
            settings.shown(plan, self.count)  # refuses layers that the model lacks, before any work
        if settings.query is not None:
            self.refuse_query(f"query={settings.query!r}")

    def refuse_query(self, said: str) -> None:
        """A query that would change nothing is a mistake.

        Raises:
            BadOption: If all methods explain one score, which is not that of a token.
        """
        if not self.mixing and not scores_tokens(self.model.model):
            raise BadOption(
                f"{', '.join(self.settings.methods)} explain one score of the whole text, and {said} chooses a token, "
                "which only a language model or a classifier of tokens scores. Leave it out, or add a method such as "
                "globenc."
            )

    def classes(self) -> list[str]:
        """The names of the model's classes."""
        return classes_of(self.model.model, self.model.tokenizer)

    @property
    def identity(self) -> dict[str, Any]:
        """The model by its content."""
        return model_identity(self.model)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table."""
        return schema(self.axes, self.settings.metric_columns)

    def table(self, results: Sequence[Result]) -> pa.Table:
        """Results as rows of the table."""
        return as_table(results, self.axes, self.settings.metric_columns)

    def described(self) -> dict[str, Any]:
        """How to read the columns of methods and metrics."""
        classes = self.classes() if self.settings.target == "all" else None
        return {
            "columns": columns_of(self.settings, self.model.origin, self.count, classes),
            "metrics": metrics_of(self.settings),
        }

    # Reading ---------------------------------------------------------------------------------------------------------

    def read(self, rows: Sequence[Row]) -> list[Ready | Result]:
        """Tokenise rows; those with a problem are results already."""
        found: list[Ready | Result] = [Result(row, problem=row.problem) for row in rows]
        for single in (True, False):  # a tokenizer reads texts together, or pairs
            places = [
                place for place, row in enumerate(rows) if not row.problem and isinstance(row.text, str) is single
            ]
            texts: Any = [rows[place].text for place in places]
            how: Any = {"truncate": self.settings.truncate, "add_special_tokens": self.settings.add_special_tokens}
            how["known"] = vocabulary(self.model.model)
            read = encode_all(self.tokenizer, texts, self.model.limit, **how)
            for place, one in zip(places, read, strict=True):
                row = rows[place]
                failed = isinstance(one, ContextMixError)
                found[place] = Result(row, problem=problem_of(one)) if failed else Ready(row, one)  # type: ignore[arg-type]
        return found

    def batches(self, ready: Sequence[Ready]) -> list[list[Ready]]:
        """Texts of equal length together, the longest first: what takes the most memory is tried at once."""
        found = []
        ordered = sorted(ready, key=lambda one: (-one.inputs.length, one.row.number))
        for length, alike in groupby(ordered, key=lambda one: one.inputs.length):
            together = list(alike)
            size = self.batch_size(length)
            found += [together[start : start + size] for start in range(0, len(together), size)]
        return found

    def batch_size(self, length: int) -> int:
        """How many texts of so many tokens run together: by tokens, and by what they would take of the memory.

        Methods of the whole model take one text at a time, so that it costs nothing to be able to stop after each.
        """
        if not self.mixing:
            return 1
        by_memory = self.memory_budget // self._bytes(length)
        return self.model.together(max(1, min(self.batch_tokens // length, by_memory)))

    def _bytes(self, length: int) -> int:
        """An estimate of what one text takes while a block is measured, from what was seen on BERT-base.

        Attention weights are there about five times over (weights, copy, products with the Gram matrices), vectors of
        heads twice, states a dozen times; maps of all layers stay until the end, once more in float64.
        """
        config = self.model.model.config
        heads, width = (int(getattr(config, name, 0) or 1) for name in ("num_attention_heads", "hidden_size"))
        inner = int(getattr(config, "intermediate_size", 0) or 4 * width)
        kept = 3 * self.count * len(self.mixing)
        return 4 * length * (length * (5 * heads + kept) + 2 * heads * width + 12 * width + 2 * inner)

    # Measuring -------------------------------------------------------------------------------------------------------

    def measure(self, batch: Sequence[Ready]) -> list[Outcome]:
        """Measure texts of equal length; where that fails, halves of them, down to the one at fault."""
        size = self.batch_size(batch[0].inputs.length)
        if len(batch) > size:  # another batch has shown since that so many do not fit
            return [one for start in range(0, len(batch), size) for one in self.measure(batch[start : start + size])]
        try:
            return self._measured(batch)
        except (ContextMixError, MemoryError, RuntimeError) as failure:
            problem = problem_of(failure)
            if problem is None:
                failure.add_note(f"This happened at {batch[0].row.where}, in a batch of {len(batch)}.")
                raise
        if len(batch) == 1:
            return [Outcome(Result(batch[0].row, problem=problem), {})]
        if problem.kind == OUT_OF_MEMORY:
            self._take_less(len(batch) * batch[0].inputs.length)
        half = (len(batch) + 1) // 2
        return [*self.measure(batch[:half]), *self.measure(batch[half:])]

    def try_rows(self, rows: Sequence[Row]) -> None:
        """Measure the first text that can be; where labels are explained, one that has a label. See `try_one`."""
        gold = self.settings.target == GOLD
        ready = [one for one in self.read(rows) if isinstance(one, Ready)]
        self.try_one([one for one in ready if not gold or one.row.label is not None])

    def try_one(self, ready: Sequence[Ready]) -> None:
        """Measure the first text that can be: what is wrong with the model or the settings is told before the work.

        Raises:
            ContextMixError: If none of the texts can be measured, and not for want of a token or of memory, which the
                next text may have: what the first one said.
        """
        first: ContextMixError | None = None
        for one in ready:
            try:
                self._measured([one])
            except (UnknownToken, AmbiguousToken):
                continue
            except ContextMixError as refusal:
                first = first or refusal
            except (MemoryError, RuntimeError) as failure:
                if problem_of(failure) is None:
                    raise
            else:
                return
        if first is not None:
            raise first

    def _take_less(self, failed: int) -> None:
        """After a batch that did not fit: no other one of so many tokens."""
        self.batch_tokens = max(1, min(self.batch_tokens, failed // 2))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _measured(self, batch: Sequence[Ready]) -> list[Outcome]:
        drafts = [self.filler.draft(one.row, one.inputs) for one in batch]
        checks = self.filler.fill(drafts)
        if self.settings.metrics:
            self._judge(batch, drafts)
        return [self._outcome(draft, checks) for draft in drafts]

    def _judge(self, batch: Sequence[Ready], drafts: Sequence[Draft]) -> None:
        """Metrics; the model with random weights explains the same class as the trained one."""
        checked = [place for place, one in enumerate(batch) if self.settings.is_randomised(one.row.number)]
        others: dict[int, Draft | str] = {}
        if checked:
            own = [self.untrained.draft(batch[place].row, batch[place].inputs) for place in checked]
            own = [replace(other, asked=drafts[place].explained) for place, other in zip(checked, own, strict=True)]
            others = dict(zip(checked, own, strict=True))
            try:
                self.untrained.fill(own)
            except ContextMixError as refusal:
                if len(batch) > 1:
                    raise  # halves of the batch come next, down to the one at fault
                others = {0: str(refusal)}
        for place, draft in enumerate(drafts):
            draft.metrics = self.judge.judged(draft, others.get(place, NOT_RANDOMISED))

    @cached_property
    def untrained(self) -> Filler:
        """The same methods on the model with random weights."""
        return Filler(with_random_weights(self.model, self.settings.seed), self.settings, self.memory_budget)

    def _outcome(self, draft: Draft, checks: Mapping[str, float]) -> Outcome:
        place, tokens = draft.places[0], draft.tokens
        if self.settings.words:
            place = tokens.merged()[1].index(draft.places)
            tokens = draft.merge_words()
        for name, values in draft.scores.items():
            if not np.isfinite(values).all():
                raise NotFinite(
                    f"{name} gives NaN or infinite scores for this text, which are meaningless. Use dtype='float64', "
                    f"or check the text: it may be degenerate."
                )
        result = Result(
            draft.row,
            tokens,
            draft.scores,
            place if self.mixing else None,
            draft.prediction,
            draft.target,
            checks,
            draft.notes,
            metrics=draft.metrics,
        )
        return Outcome(result, {f"{draft.row.number}/{name}": values for name, values in draft.maps.items()})
