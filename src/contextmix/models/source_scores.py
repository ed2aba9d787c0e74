"""Scores of sources by ablation: leave one out, zero its values, ContextCite, and a surrogate of ours.

They stay ahead of methods of one pass where a pass per source can be afforded, and they are what such methods are
judged by. `explain_sources` asks a loaded model; `score_sources` whoever gives an `Ask`, such as a server
(`contextmix.models.providers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from contextmix.errors import BadOption, UnknownName
from contextmix.maths.ablations import (
    Fit,
    answer_log_odds,
    balanced_masks,
    context_cite,
    held_out,
    leave_one_out,
    one_out,
    prior_surrogate,
    random_masks,
)
from contextmix.models.ablations import Ask, Away, Masks, Numbers, Remembered, SourcedAnswer, ablations_of
from contextmix.models.loaded_model import LoadedModel
from contextmix.options.answering import ABLATIONS
from contextmix.options.values import BATCH_TOKENS, Progress
from contextmix.plugins.sources import lds
from contextmix.results.source_scores import SourceScores as SourceScores


@dataclass(frozen=True)
class Fitting:
    """How surrogates are fitted.

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
    ask: Ask, sources: int, method: str, *, units: Sequence[slice] | None = None, fitting: Fitting | None = None
) -> SourceScores:
    """Scores of sources by ablation.

    Args:
        ask: Of `ablations_of` or `contextmix.models.providers.ablations_by`. For ``"source_value_zeroing"`` one that
            sets values to zero.
        sources: How many there are.
        method: ``"source_occlusion"`` or ``"source_value_zeroing"``: the fall of log p without each source alone, one
            pass more than sources. ``"context_cite"``: LASSO on random masks, as published. ``"source_surrogate"``:
            ours, a ridge on balanced masks, shrunk to a prior by cross-validation.
        units: Which tokens of the answer belong to each unit; None: all of them to one. More units cost no more passes.
        fitting: Of surrogates; None for the defaults.

    Raises:
        UnknownName: If there is no such method.
        BadOption: If scikit-learn is needed and not installed, or there are too few masks.
    """
    refuse_ablation(method, None, fitting := fitting or Fitting())
    remembered = ask if isinstance(ask, Remembered) else Remembered(ask, sources)
    before = remembered.passes
    values, *notes = _METHODS[method](remembered, sources, units or [slice(None)], fitting)
    return SourceScores(values, method, remembered.passes - before, *notes)


def explain_sources(
    loaded: LoadedModel,
    answer: SourcedAnswer,
    method: str,
    *,
    away: Away | None = None,
    units: Sequence[slice] | None = None,
    fitting: Fitting | None = None,
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
        fitting: As for `score_sources`.
        batch_tokens: As for `ablations_of`.
        progress: As for `ablations_of`.

    Raises:
        BadOption: If the method takes sources away in one way, and another is asked for.
    """
    refuse_ablation(method, away, fitting)
    published = method == "context_cite" and answer.prompt is not None
    usual: Away = "zeroed" if method == "source_value_zeroing" else "deleted" if published else "masked"
    ask = ablations_of(loaded, answer, away or usual, batch_tokens=batch_tokens, progress=progress)
    found = score_sources(ask, len(answer.sources), method, units=units, fitting=fitting)
    return replace(found, away=away or usual)


def refuse_ablation(method: str, away: Away | None, fitting: Fitting | None = None) -> None:
    """What cannot be measured so, before the model runs.

    Raises:
        UnknownName: If there is no such method.
        BadOption: If it does not take sources away like that, scikit-learn is missing, or there are too few masks.
    """
    if method not in _METHODS:
        raise UnknownName("method on sources", method, _METHODS)
    if away is not None and (away == "zeroed") != (method == "source_value_zeroing"):
        raise BadOption(f"{method} does not take sources away as {away!r}. Leave away out, or use another method.")
    _refuse_unfit(method, fitting or Fitting())


def _falls(ask: Ask, sources: int, units: Sequence[slice], fitting: Fitting) -> tuple[Numbers]:
    falls = leave_one_out(ask(one_out(sources)))
    return (np.stack([falls[unit].sum(0) for unit in units]),)


def _cited(ask: Ask, sources: int, units: Sequence[slice], fitting: Fitting) -> tuple[Any, ...]:
    masks = random_masks(sources, fitting.masks, seed=fitting.seed)
    return _fitted([context_cite] * len(units), masks, ask(masks), units)


def _shrunk(ask: Ask, sources: int, units: Sequence[slice], fitting: Fitting) -> tuple[Any, ...]:
    masks = balanced_masks(sources, fitting.masks, fitting.seed)
    prior = None if fitting.prior is None else np.broadcast_to(fitting.prior, (len(units), sources))
    fits: list[Fit] = [
        partial(prior_surrogate, prior=None if prior is None else prior[unit], kind=fitting.penalty)
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


def _refuse_unfit(method: str, fitting: Fitting) -> None:
    needs = method == "context_cite" or (method == "source_surrogate" and fitting.penalty == "lasso")
    if needs and find_spec("sklearn") is None:
        raise BadOption(f'{method} needs scikit-learn for its LASSO: pip install "contextmix[answers]".')
    if method in FITTED and fitting.masks < 4:
        raise BadOption(f"masks={fitting.masks} is too few to fit a line. Use at least 4; 64 is usual.")


_METHODS: Mapping[str, Callable[[Ask, int, Sequence[slice], Fitting], tuple[Any, ...]]] = dict(
    zip(ABLATIONS, (_falls, _falls, _cited, _shrunk), strict=True)
)
FITTED = ("context_cite", "source_surrogate")
"""Those that fit a surrogate, so that what parts of an answer lose does not add up to what the whole loses."""
