"""What the metrics say of the scores of one text, while the model is at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextmix.datasets.reading.rationales import marked_tokens
from contextmix.datasets.running.scores import Draft
from contextmix.datasets.storage.settings import RANDOMISED, Settings
from contextmix.errors import BadInput
from contextmix.models.predictor import predictor, removable
from contextmix.models.traced_model import TracedModel
from contextmix.options.values import Removal
from contextmix.plugins.contracts import Metric, Predict, Scored
from contextmix.plugins.scoring import score
from contextmix.results.provenance import Quantity
from contextmix.tracing.runs.randomise import randomised

Scores = NDArray[np.float64]
Way = Callable[[Metric, Scores, str, Mapping[str, Any]], Scored]
"""A metric, the scores of a method, its name and the metric's options → what the metric says."""

NO_RATIONALE = "no rationale"
NOT_RANDOMISED = "not among the rows for random weights"
VARIANT_TOKENS = 2048
"""Tokens of variants that run together: what a small model works on then still fits a processor's cache."""


class Judge:
    """Computes the metrics of the settings.

    All metrics read the scores as the table keeps them, in float32, so that they can be computed again from it. A
    variant of a text is asked of the model once, whichever methods and metrics ask for it.

    Args:
        model: The model, for metrics that ask it.
        settings: Which metrics.
    """

    def __init__(self, model: TracedModel, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.signed = {plan.name: plan.quantity is Quantity.SIGNED for plan in settings.plans}

    def judged(self, draft: Draft, untrained: Draft | str) -> dict[str, Scored]:
        """What each metric says of each method.

        Args:
            draft: A text with its scores.
            untrained: The same text with the scores of the model with random weights, or why there are none.

        Returns:
            ``metric:method`` → a value, or the reason why there is none.
        """
        scores = _as_kept(draft.scores)
        ways: dict[str, Way] = {"rationale": partial(_marking, *_rationale(draft))}
        random = partial(_comparing, untrained if isinstance(untrained, str) else _as_kept(untrained.scores))
        for removal in {self._removal(metric) for metric in self.settings.judges if metric.against == "model"}:
            ways[f"model:{removal}"] = self._asking(draft, scores, removal)
        if self.settings.needs("reference"):
            ways["reference"] = partial(self._referring, scores[self.settings.reference])
        found = {}
        for metric in self.settings.judges:
            for method in self.settings.methods:
                against = f"model:{self._removal(metric)}" if metric.against == "model" else metric.against
                way = random if metric.name == RANDOMISED else ways[against]
                found[f"{metric.name}:{method}"] = _said(partial(way, metric, scores[method], method, self._of(metric)))
        return found

    def _of(self, metric: Metric) -> Mapping[str, Any]:
        return self.settings.metric_options.get(metric.name, {})

    def _removal(self, metric: Metric) -> Removal:
        """What stands in the place of a token: of the metric's definition, or of the settings."""
        return metric.removal or self.settings.removal  # type: ignore[return-value]

    def _asking(self, draft: Draft, scores: Mapping[str, Scores], removal: Removal) -> Way:
        """Metrics that ask the model, which has been asked for everything at once: many variants fill its batches."""
        may_go = removable(draft.tokens)
        room = max(VARIANT_TOKENS, draft.inputs.length)
        predict = predictor(self.model, draft.inputs, removal=removal, batch_tokens=room)
        asked: list[NDArray[np.bool_]] = []

        def note(kept: NDArray[np.bool_]) -> NDArray[np.float64]:
            asked.append(kept)
            raise _Noted

        for metric in self.settings.judges:
            for own in scores.values() if metric.against == "model" and self._removal(metric) == removal else ():
                with suppress(_Noted, BadInput):  # a refusal comes again, and is kept then
                    score(metric.name, own, note, may_go, **self._of(metric))
        if asked:
            variants = np.concatenate(asked)
            with suppress(BadInput):  # a variant that cannot be read is told to who asks for it
                predict(variants[variants.any(1)])
        return partial(_predicting, predict, may_go)

    def _referring(
        self, reference: Scores, metric: Metric, scores: Scores, method: str, options: Mapping[str, Any]
    ) -> Scored:
        """Against a reference without signs, scores with signs are compared by their size."""
        sizes = self.signed[method] and not self.signed[self.settings.reference]
        return score(metric.name, np.abs(scores) if sizes else scores, reference, **options)


class _Noted(Exception):
    """A metric has said what it asks the model; it is asked again when the answers are there."""


def with_random_weights(model: TracedModel, seed: int) -> TracedModel:
    """The same model before it learnt anything, on the same device."""
    fresh = randomised(model.model, model.anatomy(), seed=seed)
    return TracedModel(fresh, model.tokenizer, model.processor, name=f"{model.origin.model}, random weights")


def _rationale(draft: Draft) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
    """The marked tokens, and those that people could mark: the tokenizer's own are none of them."""
    spans = draft.row.rationale
    return None if spans is None else marked_tokens(spans, draft.tokens), removable(draft.tokens)


def _marking(
    marks: NDArray[np.bool_] | None,
    words: NDArray[np.bool_],
    metric: Metric,
    scores: Scores,
    _: str,
    options: Mapping[str, Any],
) -> Scored:
    if marks is None:
        return Scored(None, NO_RATIONALE)
    return score(metric.name, scores[words], marks[words], **options)


def _predicting(
    predict: Predict, may_go: NDArray[np.bool_], metric: Metric, scores: Scores, _: str, options: Mapping[str, Any]
) -> Scored:
    return score(metric.name, scores, predict, may_go, **options)


def _comparing(
    others: Mapping[str, Scores] | str, metric: Metric, scores: Scores, method: str, options: Mapping[str, Any]
) -> Scored:
    """With the scores of another model, or the reason why there are none."""
    return Scored(None, others) if isinstance(others, str) else score(metric.name, scores, others[method], **options)


def _said(ask: Callable[[], Scored]) -> Scored:
    """A variant that the model cannot read leaves the metric undefined for this text; it is no failure of the text."""
    try:
        return ask()
    except BadInput as refusal:
        return Scored(None, str(refusal).partition(". ")[0])


def _as_kept(scores: Mapping[str, NDArray[Any]]) -> dict[str, Scores]:
    return {name: np.asarray(values, np.float32).astype(np.float64) for name, values in scores.items()}
