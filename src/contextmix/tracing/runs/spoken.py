"""The tokens of an answer as one score, the sum of their log-probabilities, for methods that follow gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.maths.precision import at_least_float32
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.meaning import Meaning
from contextmix.traces.model_run import ModelRun
from contextmix.traces.target import Target
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.runs.several_rows import SeveralRows


@dataclass(frozen=True)
class Spoken(SeveralRows):
    """A prompt and an answer but for its last token; the score is the log-probability of the answer.

    Attributes:
        answer: The ids of the answer's tokens, (m,); the last m rows say them.
        heard: The logits of these rows in the last run, (batch, m, class).
    """

    answer: Tensor = field(kw_only=True)
    heard: list[Tensor] = field(default_factory=list, kw_only=True)

    @property
    def last_logits(self) -> int:
        """One for each token of the answer."""
        return len(self.answer)

    def _scores(self, outputs: Any, places: Tensor | None = None) -> Tensor:
        """Σ_t log p(y_t), (batch, 1), in float32 at least."""
        logits = at_least_float32(outputs.logits[:, -len(self.answer) :])
        self.heard[:] = [logits.detach()]
        said = logits.log_softmax(-1).gather(-1, self.answer.expand(len(logits), -1).unsqueeze(-1))
        total: Tensor = said.sum(1)
        return total


def spoken_run(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    tokens: Tokens,
    answer: tuple[Tensor, str],
    memory_budget: int,
    hear: Callable[[Tensor], None] = lambda logits: None,
) -> ModelRun:
    """A run whose one score is the log-probability of an answer; it knows no vectors of a head and no other ids.

    Args:
        model: A causal language model.
        anatomy: Where its parts are.
        tensors: Prompt and answer but for its last token, with a batch axis of one.
        tokens: Their labels.
        answer: The ids of the answer's tokens, and its text.
        memory_budget: Bytes that a method may use for its own tensors.
        hear: Told the logits of the rows that say the answer, (m, class), if a method runs the model on what it read.
    """
    again = Spoken(model, anatomy, tensors, -1, answer=answer[0].to(device_of(model)))
    embeddings = again.entered()

    def scores_from(points: Tensor) -> Tensor:
        scores = again.scores_from(points)
        if len(points) == 1 and torch.equal(points[0], embeddings):
            hear(again.heard[0][0])
        return scores

    return ModelRun(
        tokens=tokens,
        embeddings=embeddings,
        target=Target(0, answer[1]),
        targets=(),
        clean=lambda: again.clean()[1].detach(),
        scores_from=scores_from,
        scores_of=again.scores_of,
        embeddings_of=again.embeddings_of,
        layers=again.layers,
        head=lambda: None,
        mask_id=None,
        unknown_id=None,
        memory_budget=memory_budget,
        position=-1,
        meaning=Meaning.AMOUNTS,
        looks_back=lambda: True,
    )
