"""What a method costs for one text, in seconds and in plain runs of the model, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from contextmix.datasets.running.measure import Measurer, Ready
from contextmix.datasets.storage.settings import Settings
from contextmix.models.traced_model import TracedModel
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.quiet import quiet_run

TEXTS = 3
REPEATS = 3


@dataclass(frozen=True)
class Costs:
    """What was measured.

    Attributes:
        seconds: Method → seconds for one text alone: the mean over the texts of the median of three.
        passes: Method → the same in plain runs of the model on the same texts.
        refused: Method → why the model does not support it.
        tokens: Lengths of the texts.
    """

    seconds: Mapping[str, float]
    passes: Mapping[str, float]
    refused: Mapping[str, str]
    tokens: tuple[int, ...]


def typical(ready: Sequence[Ready]) -> list[Ready]:
    """Texts of middling length."""
    ordered = sorted(ready, key=lambda one: one.inputs.length)
    start = max(0, (len(ordered) - TEXTS) // 2)
    return ordered[start : start + TEXTS]


def measured_costs(model: TracedModel, settings: Settings, texts: Sequence[Ready]) -> Costs:
    """Time each method of the settings on each text; the first time round is not counted.

    Args:
        model: The model.
        settings: Methods, options and target; metrics are left out.
        texts: At least one.
    """
    measurers = {plan.name: Measurer(model, _alone(settings, plan.name, plan.of_model)) for plan in settings.plans}
    refused: dict[str, str] = {}
    for name, one in measurers.items():
        problems = [outcome.result.problem for text in texts for outcome in one.measure([text])]
        if all(problems):
            refused[name] = problems[0].reason  # type: ignore[union-attr]
    taken: dict[tuple[str, int], list[float]] = {}
    for _ in range(REPEATS):
        for place, text in enumerate(texts):
            inputs = {
                name: value.unsqueeze(0).to(device_of(model.model)) for name, value in text.inputs.tensors.items()
            }
            taken.setdefault(("", place), []).append(_seconds(lambda inputs=inputs: _plain(model, inputs)))
            for name, one in measurers.items():
                if name not in refused:
                    seconds = _seconds(lambda one=one, text=text: one.measure([text]))
                    taken.setdefault((name, place), []).append(seconds)
    middle = {key: median(found) for key, found in taken.items()}
    plain = sum(seconds for (name, _), seconds in middle.items() if not name)
    total = {name: sum(middle[name, place] for place in range(len(texts))) for name in measurers if name not in refused}
    return Costs(
        {name: seconds / len(texts) for name, seconds in total.items()},
        {name: seconds / plain for name, seconds in total.items()},
        refused,
        tuple(text.inputs.length for text in texts),
    )


def _alone(settings: Settings, name: str, of_model: bool) -> Settings:
    options = {name: settings.options[name]} if name in settings.options else {}
    target = settings.target if of_model else None
    return replace(settings, methods=(name,), options=options, target=target, metrics=(), metric_options={})


def _plain(model: TracedModel, inputs: Mapping[str, Any]) -> None:
    with model.turn:
        quiet_run(model.model, inputs)


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
