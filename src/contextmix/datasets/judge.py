"""What the metrics say of the scores of one text, while the model is at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextmix.contracts import Metric, Scored
from contextmix.datasets.rationales import marked_tokens
from contextmix.datasets.scores import Draft
from contextmix.datasets.settings import RANDOMISED, Settings
from contextmix.errors import BadInput
from contextmix.model import TracedModel
from contextmix.predictor import predictor, removable
from contextmix.provenance import Quantity
from contextmix.scoring import score
from contextmix.tracing.randomise import randomised

Scores = NDArray[np.float64]
NO_RATIONALE = "no rationale"


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

    def judged(self, draft: Draft, untrained: Draft | None) -> dict[str, Scored]:
        """What each metric says of each method.

        Args:
            draft: A text with its scores.
            untrained: The same text with the scores of the model with random weights; None where nobody asked.

        Returns:
            ``metric:method`` → a value, or the reason why there is none.
        """
        scores = _as_kept(draft.scores)
        random = {} if untrained is None else _as_kept(untrained.scores)
        ways: dict[str, Callable[..., Scored]] = {"rationale": partial(_marking, *_rationale(draft))}
        if self.settings.needs("model"):
            ways["model"] = self._asking(draft)
        if self.settings.needs("reference"):
            ways["reference"] = partial(self._referring, scores[self.settings.reference])
        found = {}
        for metric in self.settings.judges:
            for method in self.settings.methods:
                way = partial(_plain, random[method]) if metric.name == RANDOMISED else ways[metric.against]
                options = self.settings.metric_options.get(metric.name, {})
                found[f"{metric.name}:{method}"] = _said(partial(way, metric, scores[method], method, options))
        return found

    def _asking(self, draft: Draft) -> Callable[..., Scored]:
        predict = predictor(self.model, draft.inputs, removal=self.settings.removal)
        may_go = removable(draft.tokens)

        def ask(metric: Metric, scores: Scores, _: str, options: Mapping[str, Any]) -> Scored:
            return score(metric.name, scores, predict, may_go, **options)

        return ask

    def _referring(
        self, reference: Scores, metric: Metric, scores: Scores, method: str, options: Mapping[str, Any]
    ) -> Scored:
        """Against a reference without signs, scores with signs are compared by their size."""
        sizes = self.signed[method] and not self.signed[self.settings.reference]
        return score(metric.name, np.abs(scores) if sizes else scores, reference, **options)


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


def _plain(reference: Scores, metric: Metric, scores: Scores, _: str, options: Mapping[str, Any]) -> Scored:
    return score(metric.name, scores, reference, **options)


def _said(ask: Callable[[], Scored]) -> Scored:
    """A variant that the model cannot read leaves the metric undefined for this text; it is no failure of the text."""
    try:
        return ask()
    except BadInput as refusal:
        return Scored(None, str(refusal).partition(". ")[0])


def _as_kept(scores: Mapping[str, NDArray[Any]]) -> dict[str, Scores]:
    return {name: np.asarray(values, np.float32).astype(np.float64) for name, values in scores.items()}
