"""Values that one block makes and later ones mix: on every run they must be the very ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from contextmix.errors import TraceDoesNotAddUp
from contextmix.traces.anatomy import BlockAnatomy


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


def keep_last(outputs: Any, count: int) -> None:
    """Leave the last rows of logits or states alone, in place.

    Asked for no others, a model may drop all other rows in front of the blocks that make no values of their own, and
    what these rows draw would be lost. So a recorded run makes all rows.
    """
    for name in ("logits", "last_hidden_state"):
        if getattr(outputs, name, None) is not None:
            setattr(outputs, name, getattr(outputs, name)[:, -count:])
            return


def _same(kept: Tensor | None, value: Tensor) -> bool:
    return kept is not None and kept.shape == value.shape and torch.equal(kept, value.to(kept.device))
