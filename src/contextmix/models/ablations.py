"""Which sources made an answer, by taking them away: the reference for methods of one pass, at a pass per question.

`ablations_of` asks a model about an answer whose sources are masked, deleted, or have zero values;
`contextmix.models.providers` asks a server. Either gives an `Ask`, and `score_sources` makes scores of sources of it:
`source_occlusion`, `source_value_zeroing`, `context_cite`, `source_surrogate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contextmix.errors import BadInput, BadOption, UnknownName, WrongShape
from contextmix.maths.ablations import (
    Fit,
    answer_log_odds,
    context_cite,
    held_out,
    leave_one_out,
    one_out,
    paired_masks,
    prior_surrogate,
    random_masks,
)
from contextmix.models.generate import refuse_other_models
from contextmix.models.loaded_model import LoadedModel
from contextmix.options.values import BATCH_TOKENS, Progress
from contextmix.plugins.sources import lds
from contextmix.tracing.recording.modes import undisturbed
from contextmix.tracing.runs.ablate import Variant, answer_log_probs, drops, masked, zeroed_log_probs

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
            raise BadInput("There is no source, or one without a token, so nothing can be taken away. Give others.")
        if len(set(places)) != len(places):
            raise BadInput("Two sources share a token, and what one loses would be lost to both. Split them elsewhere.")
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
        BadOption: If texts are to be deleted and nobody says what is left.
    """
    refuse_other_models(loaded.model)
    if away not in ("masked", "deleted", "zeroed"):
        raise UnknownName("way to take a source away", str(away), ["masked", "deleted", "zeroed"])
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


# Scores of sources ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceScores:
    """What each source is worth to each unit of an answer.

    Attributes:
        values: (unit, source): nats of the unit's log-probability that are lost without the source; of surrogates, in
            log-odds.
        method: Its name.
        passes: Runs of the model that it took.
        held_out_lds: Of surrogates, for each unit: Spearman's ρ of what a surrogate of the other masks predicts with
            what the model said. None where it is not defined. Where it is low, do not quote the scores.
        penalties: Of surrogates, for each unit: the λ.
    """

    values: Numbers
    method: str
    passes: int
    held_out_lds: tuple[float | None, ...] = ()
    penalties: tuple[float, ...] = ()


@dataclass(frozen=True)
class Asked:
    """How sources are to be scored.

    Attributes:
        masks: How many random masks surrogates are fitted on.
        prior: (source,) or (unit, source): scores of another method, such as evidence, for `source_surrogate`.
        penalty: Which one `source_surrogate` has.
        seed: Of the masks.
    """

    masks: int = 64
    prior: Numbers | None = None
    penalty: Literal["ridge", "lasso"] = "ridge"
    seed: int = 0


def score_sources(
    ask: Ask, sources: int, method: str, *, units: Sequence[slice] | None = None, asked: Asked | None = None
) -> SourceScores:
    """Scores of sources by ablation.

    Args:
        ask: Of `ablations_of` or `contextmix.models.providers.ablations_by`. For ``"source_value_zeroing"`` one that
            sets values to zero.
        sources: How many there are.
        method: ``"source_occlusion"`` or ``"source_value_zeroing"``: the fall of log p without each source alone, one
            pass more than sources. ``"context_cite"``: LASSO on random masks, as published. ``"source_surrogate"``:
            ours, a ridge on pairs of random halves, shrunk to a prior by cross-validation.
        units: Which tokens of the answer belong to each unit; None: all of them to one. More units cost no more passes.
        asked: How; None for the defaults.

    Raises:
        UnknownName: If there is no such method.
        BadOption: If scikit-learn is needed and not installed, or there are too few masks.
    """
    if method not in _METHODS:
        raise UnknownName("method on sources", method, _METHODS)
    _refuse_unfit(method, asked := asked or Asked())
    remembered = ask if isinstance(ask, Remembered) else Remembered(ask, sources)
    before = remembered.passes
    values, *notes = _METHODS[method](remembered, sources, units or [slice(None)], asked)
    return SourceScores(values, method, remembered.passes - before, *notes)


def explain_sources(
    loaded: LoadedModel,
    answer: SourcedAnswer,
    method: str,
    *,
    away: Away | None = None,
    units: Sequence[slice] | None = None,
    asked: Asked | None = None,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress | None = None,
) -> SourceScores:
    """`ablations_of` and `score_sources` in one call, with what a method usually takes away.

    Args:
        loaded: A causal language model.
        answer: The answer and its sources.
        method: As for `score_sources`.
        away: How; left out, values are zeroed for ``"source_value_zeroing"``, text is deleted for ``"context_cite"`` if
            the answer says what is left (as published), and keys are masked elsewhere.
        units: As for `score_sources`.
        asked: As for `score_sources`.
        batch_tokens: As for `ablations_of`.
        progress: As for `ablations_of`.

    Raises:
        BadOption: If the method takes sources away in one way, and another is asked for.
    """
    zeroing = method == "source_value_zeroing"
    if away is not None and (away == "zeroed") != zeroing:
        raise BadOption(f"{method} does not take sources away as {away!r}. Leave away out, or use another method.")
    published = method == "context_cite" and answer.prompt is not None
    usual: Away = "zeroed" if zeroing else "deleted" if published else "masked"
    ask = ablations_of(loaded, answer, away or usual, batch_tokens=batch_tokens, progress=progress)
    return score_sources(ask, len(answer.sources), method, units=units, asked=asked)


def _falls(ask: Ask, sources: int, units: Sequence[slice], asked: Asked) -> tuple[Numbers]:
    falls = leave_one_out(ask(one_out(sources)))
    return (np.stack([falls[unit].sum(0) for unit in units]),)


def _cited(ask: Ask, sources: int, units: Sequence[slice], asked: Asked) -> tuple[Any, ...]:
    masks = random_masks(sources, asked.masks, seed=asked.seed)
    return _fitted([context_cite] * len(units), masks, ask(masks), units)


def _shrunk(ask: Ask, sources: int, units: Sequence[slice], asked: Asked) -> tuple[Any, ...]:
    masks = paired_masks(sources, asked.masks, asked.seed)
    prior = None if asked.prior is None else np.broadcast_to(asked.prior, (len(units), sources))
    fits: list[Fit] = [
        partial(prior_surrogate, prior=None if prior is None else prior[unit], kind=asked.penalty)
        for unit in range(len(units))
    ]
    return _fitted(fits, masks, ask(masks), units)


def _fitted(fits: Sequence[Fit], masks: Masks, log_probs: Numbers, units: Sequence[slice]) -> tuple[Any, ...]:
    found = [fit(masks, log_probs[:, unit]) for fit, unit in zip(fits, units, strict=True)]
    unseen = [_unseen_lds(fit, masks, log_probs[:, unit]) for fit, unit in zip(fits, units, strict=True)]
    return np.stack([one.weights for one in found]), tuple(unseen), tuple(one.penalty for one in found)


def _unseen_lds(fit: Fit, masks: Masks, log_probs: Numbers) -> float | None:
    """Each prediction is one number, so it is "the score" of a source that this mask alone keeps."""
    predicted = held_out(fit, masks, log_probs)
    return lds(predicted, np.eye(len(masks), dtype=np.bool_), answer_log_odds(log_probs)).value


def _refuse_unfit(method: str, asked: Asked) -> None:
    needs = method == "context_cite" or (method == "source_surrogate" and asked.penalty == "lasso")
    if needs and find_spec("sklearn") is None:
        raise BadOption(f'{method} needs scikit-learn for its LASSO: pip install "contextmix[answers]".')
    if method in ("context_cite", "source_surrogate") and asked.masks < 4:
        raise BadOption(f"masks={asked.masks} are too few to fit a line on. Give at least 4; 64 are usual.")


_METHODS: Mapping[str, Callable[[Ask, int, Sequence[slice], Asked], tuple[Any, ...]]] = {
    "source_occlusion": _falls,
    "source_value_zeroing": _falls,
    "context_cite": _cited,
    "source_surrogate": _shrunk,
}
