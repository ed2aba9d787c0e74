"""The tokens of an answer as one score, the sum of their log-probabilities, for methods that follow gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.maths.precision import at_least_float32
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.meaning import Meaning
from contextmix.traces.model_run import ModelRun
from contextmix.traces.target import Target
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.quiet import first_states, has_images, quiet_run
from contextmix.tracing.recording.turns import before, undone
from contextmix.tracing.runs.rerun import Rerunner


class _Entered(Exception):
    """The first block was reached, with these states; not an error."""


@dataclass(frozen=True)
class Spoken(Rerunner):
    """A prompt and an answer but for its last token; the score is the log-probability of the answer.

    Attributes:
        answer: The ids of the answer's tokens, (m,); the last m rows say them.
    """

    answer: Tensor = field(kw_only=True)

    @property
    def last_logits(self) -> int:
        """One for each token of the answer."""
        return len(self.answer)

    def entered(self) -> Tensor:
        """What enters the blocks (key, d_model; see `Entering.together`); without images nothing behind them runs."""
        if has_images(self.tensors):
            return self.clean()[0]

        def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Entered(first_states(args, kwargs))

        try:
            with undone(before(self.first_block, stop).remove):
                quiet_run(self.model, self.tensors, last_logits=self.last_logits)
        except _Entered as found:
            states: Tensor = found.args[0]
            return states.detach()[0]
        return self.clean()[0]  # it caught what was to stop it

    def _scores(self, outputs: Any, places: Tensor | None = None) -> Tensor:
        """Σ_t log p(y_t), (batch, 1), in float32 at least."""
        logits = at_least_float32(outputs.logits[:, -len(self.answer) :])
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
) -> ModelRun:
    """A run whose one score is the log-probability of an answer; it knows no vectors of a head and no other ids.

    Args:
        model: A causal language model.
        anatomy: Where its parts are.
        tensors: Prompt and answer but for its last token, with a batch axis of one.
        tokens: Their labels.
        answer: The ids of the answer's tokens, and its text.
        memory_budget: Bytes that a method may use for its own tensors.
    """
    again = Spoken(model, anatomy, tensors, -1, answer=answer[0].to(device_of(model)))
    return ModelRun(
        tokens=tokens,
        embeddings=again.entered(),
        target=Target(0, answer[1]),
        targets=(),
        clean=lambda: again.clean()[1].detach(),
        scores_from=again.scores_from,
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
