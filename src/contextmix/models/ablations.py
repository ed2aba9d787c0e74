"""An answer and its sources, and what a model says of it with some of them taken away.

`ablations_of` asks a model about an answer whose sources are masked, deleted, or have zero values;
`contextmix.models.providers` asks a server. Either gives an `Ask`, of which `contextmix.models.source_scores` makes
scores of sources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contextmix.errors import BadInput, BadOption, UnknownName, WrongShape
from contextmix.models.generate import refuse_other_models
from contextmix.models.loaded_model import LoadedModel
from contextmix.options.values import BATCH_TOKENS, Progress
from contextmix.tracing.recording.modes import undisturbed
from contextmix.tracing.runs.ablate import Variant, answer_log_probs, drops, masked
from contextmix.tracing.runs.zeroed import zeroed_log_probs

Masks = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Ask = Callable[[Masks], Numbers]
"""Which sources are kept (mask, source) → log p of each token of the answer (mask, token)."""
Away = Literal["masked", "deleted", "zeroed"]
"""How a source is taken away: its keys masked and positions kept, its text deleted, or its values set to zero."""


@dataclass(frozen=True)
class SourcedAnswer:
    """An answer behind its prompt, and where in the prompt its sources are.

    Attributes:
        ids: Token ids of prompt and answer.
        start: Where the answer begins.
        sources: The positions of each source's tokens, all before ``start``. The last token before the answer is where
            the answer is read: it stays, also if a source holds it.
        prompt: Which sources are kept (source,) → the prompt without the others, as a text or as ids; for
            ``"deleted"``. The same ids of the answer follow it.
    """

    ids: tuple[int, ...]
    start: int
    sources: tuple[tuple[int, ...], ...]
    prompt: Callable[[Masks], str | Sequence[int]] | None = None

    def __post_init__(self) -> None:
        places = [place for source in self.sources for place in source]
        if not 0 < self.start < len(self.ids):
            raise BadInput(
                f"The answer begins at token {self.start} of {len(self.ids)}; it needs at least one token, and one "
                "before it from which it is read."
            )
        if not self.sources or not all(self.sources):
            raise BadInput(
                "There is no source, or a source has no token, so nothing can be removed. Give other sources."
            )
        if len(set(places)) != len(places):
            raise BadInput("Two sources share a token, so removing one would damage the other. Split them elsewhere.")
        if min(places) < 0 or max(places) >= self.start:
            raise BadInput(
                f"Sources hold the tokens {min(places)} to {max(places)}, and the prompt those from 0 to "
                f"{self.start - 1}. A source lies in the prompt."
            )

    def tokens_kept(self, masks: Masks) -> Tensor:
        """Which tokens are kept (mask, n) where these sources are (mask, source)."""
        kept = torch.ones(len(masks), len(self.ids), dtype=torch.bool)
        for number, places in enumerate(self.sources):
            kept[:, list(places)] = torch.from_numpy(masks[:, number].copy())[:, None]
        kept[:, self.start - 1] = True
        return kept


@undisturbed
def ablations_of(
    loaded: LoadedModel,
    answer: SourcedAnswer,
    away: Away = "masked",
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress | None = None,
) -> Ask:
    """A function that says what a model makes of an answer with sources taken away; every mask runs once.

    Args:
        loaded: A causal language model.
        answer: The answer and its sources.
        away: How a source is taken away.
        batch_tokens: How many tokens run together at most.
        progress: Called with the share of the masks of one call that is done.

    Raises:
        UnsupportedModel: If the model says no next token, or sources cannot be taken away so.
        BadInput: If prompt and answer do not fit into the model's context.
        BadOption: If texts are to be deleted and nobody says what is left.
    """
    refuse_other_models(loaded.model)
    if away not in ("masked", "deleted", "zeroed"):
        raise UnknownName("way to remove a source", str(away), ["masked", "deleted", "zeroed"])
    if loaded.limit is not None and len(answer.ids) - 1 > loaded.limit:  # the last token is not read
        raise BadInput(
            f"Prompt and answer have {len(answer.ids)} tokens, and {type(loaded.model).__name__} reads {loaded.limit}. "
            "Truncating them silently would ask about a different answer. Give fewer sources, or a shorter answer."
        )
    if away == "deleted" and answer.prompt is None:
        raise BadOption(
            'away="deleted" needs the text that is left: give SourcedAnswer a prompt function, or take away="masked".'
        )
    return Remembered(_Ablations(loaded, answer, away, batch_tokens, progress), len(answer.sources))


@dataclass
class Remembered:
    """An `Ask` that keeps each answer, and counts what was run.

    Attributes:
        ask: Asked for masks that are new.
        sources: How many there are.
        passes: How many masks were run.
    """

    ask: Ask
    sources: int
    passes: int = 0
    known: dict[bytes, Numbers] = field(default_factory=dict)

    def __call__(self, masks: Masks) -> Numbers:
        """See `Ask`.

        Raises:
            WrongShape: If a mask does not say for every source whether it is kept.
        """
        masks = np.asarray(masks)
        if masks.dtype != bool or masks.ndim != 2 or masks.shape[1] != self.sources or len(masks) == 0:
            raise WrongShape(
                f"Masks of {self.sources} sources are True and False, (mask, {self.sources}), one at least; got "
                f"{masks.dtype} {masks.shape}."
            )
        new = {row.tobytes(): row for row in masks if row.tobytes() not in self.known}
        if new:
            found = self.ask(np.stack(list(new.values())))
            self.known.update(zip(new, found, strict=True))
            self.passes += len(new)
        return np.stack([self.known[row.tobytes()] for row in masks])


@dataclass
class _Ablations:
    """What `ablations_of` asks."""

    loaded: LoadedModel
    answer: SourcedAnswer
    away: Away
    batch_tokens: int
    progress: Progress | None
    drop: bool | None = None

    @undisturbed
    def __call__(self, masks: Masks) -> Numbers:
        """Masks (mask, source) → log p (mask, token)."""
        model, ids = self.loaded.model, torch.tensor(self.answer.ids)
        said = len(ids) - self.answer.start
        how: Any = {"batch_tokens": self.batch_tokens, "tick": self._tick(len(masks))}
        with self.loaded.turn:
            if self.away == "zeroed":
                return zeroed_log_probs(model, ids, self.answer.tokens_kept(masks), said, **how).numpy()
            variants = self._left(masks) if self.away == "deleted" else self._masked(ids, masks)
            return answer_log_probs(model, variants, said, **how).numpy()

    def _masked(self, ids: Tensor, masks: Masks) -> list[Variant]:
        kept = self.answer.tokens_kept(masks)
        missing = (~kept).any(1).nonzero()
        if self.drop is None and len(missing):
            self.drop = drops(self.loaded.model, ids, kept[missing[0, 0]], len(ids) - self.answer.start)
        return masked(ids, kept, drop=bool(self.drop))

    def _left(self, masks: Masks) -> list[Variant]:
        assert self.answer.prompt is not None  # refused before
        said = list(self.answer.ids[self.answer.start :])
        return [Variant(torch.tensor([*self._ids(self.answer.prompt(row)), *said])) for row in masks]

    def _ids(self, prompt: str | Sequence[int]) -> Sequence[int]:
        if not isinstance(prompt, str):
            return prompt
        (read,) = self.loaded.encode(prompt)
        assert read.tokens is not None
        assert read.tokens.ids is not None
        return read.tokens.ids

    def _tick(self, count: int) -> Callable[[int], None] | None:
        if self.progress is None:
            return None
        done, tell = 0, self.progress

        def tick(more: int) -> None:
            nonlocal done
            done += more
            tell(done / count, f"ablation {done} of {count}")

        return tick
