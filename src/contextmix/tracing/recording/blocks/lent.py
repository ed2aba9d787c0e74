"""Values that one block makes and later ones mix: on every run they must be the very ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TraceDoesNotAddUp
from contextmix.traces.anatomy import BlockAnatomy
from contextmix.tracing.recording.turns import before, undone


@dataclass
class Lent:
    """Keeps the values that are lent, as the model does, and compares them with what borrowers read.

    Attributes:
        places: All blocks.
        kept: Values by the number of the block that made them.
    """

    places: Sequence[BlockAnatomy]
    kept: dict[int, Tensor] = field(default_factory=dict)

    @property
    def borrowers(self) -> tuple[int, ...]:
        """The numbers of the blocks that mix values of others."""
        return tuple(number for number, place in enumerate(self.places) if place.values_of is not None)

    def mixed(self, number: int, value: Tensor) -> None:
        """A block mixes these values.

        Raises:
            TraceDoesNotAddUp: If they are others than those that it borrowed on the probe.
        """
        lenders = {place.values_of for place in self.places}
        if number in lenders:
            self.kept[number] = value.detach()
        source = self.places[number].values_of if number < len(self.places) else None
        if source is not None and not _same(self.kept.get(source), value):
            raise TraceDoesNotAddUp(
                f"Layer {number} mixed the values that layer {source} had made when its anatomy was found, and does "
                "not in this run, so its map would be read against the wrong tokens. No number was produced."
            )


@contextmanager
def last_rows_said(model: PreTrainedModel, count: int) -> Iterator[None]:
    """The matrix of the vocabulary reads the last rows alone; all of them where the count is 0.

    Asked for no others, a model may drop all other rows in front of the blocks that make no values of their own, and
    what these rows draw would be lost. So a recorded run is asked for all, and makes few logits all the same: those of
    all rows would be its largest tensor.
    """
    own: Any = model
    head: Any = None
    with suppress(NotImplementedError, AttributeError):
        head = own.get_output_embeddings()
    if not count or not isinstance(head, nn.Module):
        yield
        return

    def cut(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return tuple(one[:, -count:] if isinstance(one, Tensor) and one.ndim == 3 else one for one in args), kwargs

    with undone(before(head, cut).remove):
        yield


def keep_last(outputs: Any, count: int) -> None:
    """Leave the last rows of logits or states alone, in place, as in a run that was asked for no others."""
    for name in ("logits", "last_hidden_state"):
        if getattr(outputs, name, None) is not None:
            setattr(outputs, name, getattr(outputs, name)[:, -count:])
            return


def _same(kept: Tensor | None, value: Tensor) -> bool:
    return kept is not None and kept.shape == value.shape and torch.equal(kept, value.to(kept.device))
