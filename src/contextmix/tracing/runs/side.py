"""One side of a model of two towers, as a model of its own: its tower, and its similarity with what others say.

s(x) = scale · f(x) · g + offset, where f(x) are the features of one side and g those of the other, both of length one
unless the model itself compares them as they are. Scale and offset are those that rebuild the model's own scores.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from contextmix.errors import UnsupportedModel
from contextmix.tracing.inputs.probe import default_probe
from contextmix.tracing.inputs.towers import Tower
from contextmix.tracing.recording.quiet import evaluating, on_device, plain_outputs, quiet_run
from contextmix.tracing.recording.verify import close, tolerance

Kind = TypeVar("Kind", bound=PreTrainedModel)


@dataclass(frozen=True)
class Scale:
    """What a model makes of the product of two features.

    Attributes:
        scale: What it is multiplied with.
        offset: What is added.
        unit: Whether the features are brought to length one before.
        own: Whether these are the model's own scores; else it is the cosine.
    """

    scale: float = 1.0
    offset: float = 0.0
    unit: bool = True
    own: bool = False

    def compared(self, features: Tensor, others: Tensor) -> Tensor:
        """The scores (batch, other) of features (batch, d) with others (other, d)."""
        both = [nn.functional.normalize(one, dim=-1) if self.unit else one for one in (features, others)]
        return self.scale * both[0] @ both[1].T + self.offset


@dataclass(frozen=True)
class Others:
    """What the other side says, held fixed.

    Attributes:
        names: What each was made of, for people.
        features: (other, d).
        scale: How they are compared.
    """

    names: tuple[str, ...]
    features: Tensor
    scale: Scale


class Side(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Runs one tower of a model; with others to compare with it gives a score for each, as a classifier does.

    Args:
        whole: The model of two towers. It is part of this one and stays as it is.
        tower: Which of its towers.
        others: What its features are compared with; None for the outputs of the tower.
    """

    base_model_prefix = "whole"

    def __init__(self, whole: PreTrainedModel, tower: Tower, others: Others | None = None) -> None:
        config: Any = copy.deepcopy(whole.get_submodule(tower.path).config)
        config._attn_implementation_internal = "eager"  # nothing attends in this class itself
        config.problem_type, config.is_decoder = "regression", False
        config.id2label = dict(enumerate(() if others is None else others.names))
        super().__init__(config)
        self.whole, self.tower, self.others = whole, tower, others
        self.main_input_name = tower.main  # some parts inherit another name than that of what they read

    @property
    def base_model(self) -> nn.Module:
        """Itself: what it accepts is what the features are made of."""
        return self

    @property
    def part_that_reads(self) -> nn.Module:
        """Its tower, which says what it reads: the whole model reads other things too."""
        return self.whole.get_submodule(self.tower.path)

    def get_input_embeddings(self) -> nn.Module:
        """Those of its tower."""
        part: Any = self.part_that_reads
        found: nn.Module = part.get_input_embeddings()
        return found

    def get_output_embeddings(self) -> None:
        """None: it scores no vocabulary."""

    def features(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The features (batch, d) of what this side reads; no gradients.

        Args:
            inputs: With a batch axis.
        """
        with evaluating(self), plain_outputs(self), torch.no_grad():
            return self._features(on_device(self, inputs))

    def forward(self, **inputs: Any) -> Any:
        """The outputs of its tower, or the scores for the others."""
        own = {name: value for name, value in inputs.items() if name not in _SETTINGS}
        if self.others is None:
            return self._own(**own)
        features = self._features(own)
        scores = self.others.scale.compared(features, self.others.features.to(features))
        return SequenceClassifierOutput(logits=scores)

    @property
    def _own(self) -> Callable[..., Any]:
        """What is run: the tower, or the method that makes features of what it gives."""
        part: Callable[..., Any] = self.whole.get_submodule(self.tower.path)
        method: Callable[..., Any] = getattr(self.whole, self.tower.features)
        return part if self.others is None else method

    def _features(self, inputs: Mapping[str, Any]) -> Tensor:
        method = getattr(self.whole, self.tower.features)
        hands_on = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(method).parameters.values())
        try:
            outputs = method(**inputs, **({"return_dict": True} if hands_on else {}))
        except TypeError as reason:
            raise UnsupportedModel(
                f"{type(self.whole).__name__}.{self.tower.features} does not run ({reason}), so the features of its "
                f"{self.tower.kind} tower are unknown, and so is a similarity. Use a method that explains a "
                "representation, such as globenc."
            ) from reason
        return _features_in(outputs)


def side_of(whole: PreTrainedModel, tower: Tower, others: Others | None = None) -> Side:
    """One side of a model, under the name of its tower; see `Side`."""
    part = whole.get_submodule(tower.path)
    kind = called_as(Side, type(part).__name__, part if others is None else getattr(whole, tower.features))
    return kind(whole, tower, others)


_SETTINGS = {"use_cache", "return_dict", "logits_to_keep"}
"""What a run tells every model, and a tower is told by hooks where it has to know."""


def called_as(kind: type[Kind], name: str, asked: Any) -> type[Kind]:
    """A class of models under another name, whose call says which inputs it takes: those of what it asks.

    Args:
        kind: The class. Its ``forward`` takes any input by name.
        name: What sentences call it.
        asked: A module or a method.
    """
    own = inspect.signature(getattr(asked, "forward", asked))
    named = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]

    def forward(self: Kind, **inputs: Any) -> Any:
        return kind.forward(self, **inputs)

    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    forward.__signature__ = own.replace(parameters=[itself, *named])  # type: ignore[attr-defined]
    return type(name, (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, "forward": forward})


def _features_in(outputs: Any) -> Tensor:
    """The features (batch, d) that a method of features gave: themselves, or where outputs keep them."""
    found: Any = outputs if isinstance(outputs, Tensor) else getattr(outputs, "pooler_output", None)
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise UnsupportedModel(
            "The model gives no single vector of features of one side, so there is no similarity to explain. Use a "
            "method that explains a representation, such as globenc."
        )
    return found


def own_scale(whole: PreTrainedModel, sides: Sequence[Side]) -> Scale:
    """How a model compares its two sides, found by looking at its own scores of a few probes; else the cosine.

    Args:
        whole: The model.
        sides: Both of its sides, without others.
    """
    probes = [_varied(side, count) for side, count in zip(sides, (2, 3), strict=True)]
    try:
        outputs = quiet_run(whole, on_device(whole, {**probes[0], **probes[1]}))
    except Exception:  # a model may refuse to read other numbers of both, and then its scores stay unknown
        return Scale()
    first, second = (side.features(probe) for side, probe in zip(sides, probes, strict=True))
    if first.shape[-1] != second.shape[-1]:
        return Scale()
    tensors = [value for value in outputs.values() if isinstance(value, Tensor) and value.ndim == 2]
    for value, unit in product(tensors, (True, False)):
        for scores in (value, value.T):
            if scores.shape == (2, 3) and (found := _fitted(first, second, scores, unit)):
                return found
    return Scale()


def _varied(side: Side, count: int) -> dict[str, Tensor]:
    """Several different inputs of one side in a batch: token ids in another order, larger pixels or samples."""
    probe, main = default_probe(side), side.tower.main
    found = {name: value.expand(count, *value.shape[1:]) if value.ndim else value for name, value in probe.items()}
    rows = [
        probe[main] * (1 + row / 2) if probe[main].is_floating_point() else probe[main].roll(row, -1)
        for row in range(count)
    ]
    return {**found, main: torch.cat(rows)}


def _fitted(first: Tensor, second: Tensor, scores: Tensor, unit: bool) -> Scale | None:
    """The line from products of features to scores, if all scores lie on one."""
    raw = Scale(unit=unit).compared(first.double(), second.double()).flatten()
    design = torch.stack([raw, torch.ones_like(raw)], -1)
    scale, offset = torch.linalg.lstsq(design.cpu(), scores.double().flatten().cpu()).solution.tolist()
    found = Scale(scale, offset, unit, own=True)
    rebuilt = found.compared(first.double(), second.double())
    noise = 8 * torch.finfo(scores.dtype).eps * float(scores.abs().max())
    fits = close(rebuilt, scores.double(), tolerance(scores.dtype), noise)
    return found if fits and abs(scale) > 1e-9 else None
