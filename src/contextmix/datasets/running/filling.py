"""The scores of all methods for texts of equal length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from contextmix.datasets.reading.rows import Row
from contextmix.datasets.running.scores import Draft, keep
from contextmix.datasets.storage.settings import GOLD, Settings
from contextmix.datasets.storage.table import CHECKS
from contextmix.errors import BadInput
from contextmix.models.traced_model import TracedModel
from contextmix.options.values import Asked
from contextmix.tracing.inputs.encode import Inputs, stacked
from contextmix.tracing.inputs.heads import scores_tokens


class Filler:
    """A model that fills drafts with scores.

    Args:
        model: The model.
        settings: Which methods, and what is kept of their maps.
        memory_budget: Bytes that a method of the whole model may use.
    """

    def __init__(self, model: TracedModel, settings: Settings, memory_budget: int) -> None:
        self.model, self.settings, self.memory_budget = model, settings, memory_budget
        self.mixing = [plan for plan in settings.plans if not plan.of_model]
        self.whole = [plan for plan in settings.plans if plan.of_model]
        self.count = len(model.anatomy().blocks)

    def draft(self, row: Row, inputs: Inputs) -> Draft:
        """A text without scores."""
        tokens = self.model.labels(inputs, inputs.length)
        asked = self.settings.query if row.query is None else row.query
        place = tokens.position(self.model.usual_query if asked is None else asked)
        places: tuple[int, ...] = (place,)
        if self.settings.words:
            places = next(group for group in tokens.merged()[1] if place in group)
        return Draft(row, replace(inputs, tokens=tokens), tokens, places)

    def fill(self, drafts: Sequence[Draft]) -> dict[str, float]:
        """Scores of all methods; returns how well the model proved itself."""
        checks = self._mix(drafts) if self.mixing else {}
        for draft in drafts if self.whole else ():
            self._attribute(draft)
        return checks

    def _mix(self, drafts: Sequence[Draft]) -> dict[str, float]:
        """All mixing maps in one run of the model; returns how well it proved itself."""
        tensors = stacked([draft.inputs for draft in drafts])
        found = self.model.measure_batch(tensors, self.mixing, partial(self.settings.wants, count=self.count))
        for draft, said in zip(drafts, self._predictions(found.outputs, drafts), strict=True):
            draft.prediction = said
        for which in range(len(self.mixing)):
            keep(found, which, self.settings, self.count, drafts)
        return {"conservation": found.checks.conservation, "block_equation": found.checks.block_equation}

    def _predictions(self, outputs: Any, drafts: Sequence[Draft]) -> list[dict[str, Any]]:
        return [self.model.prediction(outputs, row, draft.tokens) for row, draft in enumerate(drafts)]

    def _attribute(self, draft: Draft) -> None:
        """The methods of the whole model, of one text."""
        target = self.settings.target if draft.asked is None else draft.asked
        if target == GOLD:
            if draft.row.label is None:
                raise BadInput(f"target={GOLD!r} explains the label of each text, but this text has none.")
            target = draft.row.label
        asked = self.settings.query is not None or draft.row.query is not None
        # Left out, it is the last token, or the only mask.
        position = draft.places[-1] if asked and scores_tokens(self.model.model) else None
        maps = self.model.attribute_all(draft.inputs, self.whole, target, position, self.memory_budget)
        for plan, found in zip(self.whole, maps, strict=True):
            notes = dict(found.provenance.notes)
            draft.prediction, draft.target = notes.pop("prediction", {}), notes.get("target")
            draft.explained = _explained(notes)
            draft.scores[plan.name] = found.values
            checks = dict(found.provenance.checks)
            draft.notes[plan.name] = {**notes, **({CHECKS: checks} if checks else {})}


def _explained(notes: Mapping[str, Any]) -> Asked:
    """The target that was explained, so that another model is asked for the same one."""
    target, foil = (notes.get(f"{name}_id", notes.get(name)) for name in ("target", "foil"))
    return target if foil is None else (target, foil)
