"""TracedTower: one tower of a model of two, as a model that can be asked by itself; and whose turn a source is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput, BadOption
from contextmix.models.traced_model import TracedModel
from contextmix.tokens.media import is_file
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.beside import accepted_names
from contextmix.tracing.inputs.encode import Inputs, stacked
from contextmix.tracing.inputs.kind import KINDS
from contextmix.tracing.inputs.sources import is_pair
from contextmix.tracing.inputs.towers import TEXT, Tower
from contextmix.tracing.runs.side import Others, Scale, side_of


class TracedTower(TracedModel):
    """One tower of a model: what it reads, and its similarity with what the other tower says.

    Args:
        whole: The model of two towers.
        tower: Which of them.
        tokenizer: Of the text tower.
        processor: Of the other one.
        name: For provenance.
        revision: For provenance.
        others: What it is compared with, as the scores that methods explain; None for none.
        anatomy: Where its parts are; None to find out on the first run.
    """

    def __init__(
        self,
        whole: PreTrainedModel,
        tower: Tower,
        tokenizer: Any = None,
        processor: Any = None,
        *,
        name: str,
        revision: str | None = None,
        others: Others | None = None,
        anatomy: Anatomy | None = None,
    ) -> None:
        super().__init__(
            side_of(whole, tower, others), tokenizer, processor, name=name, revision=revision, anatomy=anatomy
        )
        self.whole, self.tower, self.others = whole, tower, others

    def encode(self, source: Any, **how: Any) -> list[Inputs]:
        """See `LoadedModel.encode`; results say which tower they are of."""
        notes: dict[str, Any] = {"tower": self.tower.path}
        if self.others is not None:
            notes["score"] = "the model's own similarity" if self.others.scale.own else "cosine of the features"
        return [replace(one, notes={**one.notes, **notes}) for one in super().encode(source, **how)]

    def against(self, others: Others) -> TracedTower:
        """The same tower, with its similarity to these as scores."""
        made, readers = self.origin, (self.tokenizer, self.processor)
        return TracedTower(
            self.whole,
            self.tower,
            *readers,
            name=made.model,
            revision=made.revision,
            others=others,
            anatomy=self._anatomy,
        )

    def asked(self, verb: str, source: Any, how: Mapping[str, Any]) -> Any:
        """A verb for the score that this tower has: the similarity, or how far the first is above the second."""
        count = 0 if self.others is None else len(self.others.names)
        return getattr(self, verb)(source, target=tuple(range(count)) if count > 1 else 0, **how)

    def features(self, inputs: Sequence[Inputs]) -> list[Tensor]:
        """The features (d,) of each input."""
        with self.turn:
            return [self.model.features(stacked([one]))[0] for one in inputs]  # type: ignore[operator]


def by_towers(towers: Mapping[str, TracedTower], source: Any) -> dict[str, Any]:
    """What each tower reads of one source: kind → a source of that tower alone.

    Args:
        towers: By their kinds.
        source: A text, an image or a sound; or several by name, as ``{"image": …, "text": …}`` or model inputs.

    Raises:
        BadInput: If something is given that no tower reads.
    """
    if isinstance(source, Mapping) and not is_pair(source) and source:
        return _named(towers, source) if source.keys() & {TEXT, *KINDS, "images"} else _model_inputs(towers, source)
    kind = _kind_of(towers, source)
    if kind not in towers:
        raise BadInput(f"Got {_a(kind)}, but the towers of this model read {_listed(towers)}.")
    return {kind: source}


def _named(towers: Mapping[str, TracedTower], source: Mapping[str, Any]) -> dict[str, Any]:
    """Sources by the names of their kinds."""
    unknown = [str(name) for name in source if name not in towers]
    if unknown or any(value is None for value in source.values()):
        named = ", ".join(unknown) or "nothing (None) for one of them"
        raise BadInput(
            f"The towers of this model read {_listed(towers)}, but the source has {named}. Give "
            f"{{{', '.join(f'{kind!r}: …' for kind in towers)}}}, or only one of these."
        )
    return {kind: source[kind] for kind in towers if kind in source}


def _model_inputs(towers: Mapping[str, TracedTower], source: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors, each for the first tower that accepts its name, if that tower's own input is among them."""
    found: dict[str, dict[str, Any]] = {}
    asked = {kind: tower for kind, tower in towers.items() if {tower.tower.main, "inputs_embeds"} & source.keys()}
    for name, value in source.items():
        takes = (kind for kind, tower in asked.items() if name in (accepted_names(tower.model) or ()))
        kind = next(takes, None)
        if kind is None:
            mains = " or ".join(tower.tower.main for tower in towers.values())
            raise BadInput(
                f"No tower of this model reads {name} of these model inputs ({', '.join(map(str, source))}). The "
                f"towers read {mains}, and what belongs to each. Leave {name} out."
            )
        found.setdefault(kind, {})[name] = value
    return found


def _kind_of(towers: Mapping[str, TracedTower], source: Any) -> str:
    """The kind of a source without a name; a text that names a file is what the other tower reads."""
    other = next((kind for kind in towers if kind != TEXT), TEXT)
    recognised = next((kind.name for kind in KINDS.values() if kind.recognises(source)), None)
    if recognised is not None:
        return recognised
    if isinstance(source, Path | np.ndarray | Tensor) or (isinstance(source, str) and is_file(source)):
        return other
    return TEXT


def others_of(towers: Mapping[str, TracedTower], kind: str, target: Any, scale: Scale) -> Others:
    """What one tower is compared with: other things that the model reads, each of which is a score.

    Args:
        towers: By their kinds.
        kind: Of the tower that is explained.
        target: What the other tower reads: one thing, or two texts to contrast.
        scale: How the model compares.

    Raises:
        BadInput: If the other tower does not read it.
        BadOption: If a contrast is of the same twice.
    """
    rest = {other: tower for other, tower in towers.items() if other != kind}
    names, features = [], []
    for one in target if isinstance(target, tuple | list) else [target]:
        try:
            (other, source), *_ = by_towers(rest, one).items()
        except BadInput as reason:
            raise BadInput(
                f"target={one!r:.80} cannot be compared with this {kind}: the score is its similarity to "
                f"{_listed(rest)}. {reason}"
            ) from reason
        inputs = rest[other].encode(source)
        names += [_name(source, other)] * len(inputs)
        features += rest[other].features(inputs)
    if not names:
        raise BadOption(f"target={target!r} is empty. Name what the {_listed(rest)} tower reads, or two to contrast.")
    if len(set(names)) < len(names):
        raise BadOption(f"target={target!r:.80} names the same thing twice. Name two different ones to contrast them.")
    return Others(tuple(names), torch.stack(features), scale)


def _name(source: Any, kind: str) -> str:
    return str(source) if isinstance(source, str | Path) else f"the {kind}"


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _listed(towers: Mapping[str, TracedTower]) -> str:
    return " and ".join(f"{kind}s" for kind in towers)
