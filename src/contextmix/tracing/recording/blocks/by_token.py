"""What a block reads, as one row for each token, and back: its tokens may be in front, or have several streams."""

from __future__ import annotations

from torch import Tensor

from contextmix.traces.anatomy import BlockAnatomy
from contextmix.tracing.recording.blocks.picture_windows import flat
from contextmix.tracing.recording.quiet import turned


def by_token(states: Tensor, place: BlockAnatomy) -> Tensor:
    """What a block reads as (batch, token, width); the streams of a token are one after the other."""
    if place.stream is not None and place.stream.count:
        return states.permute(1, 2, 0, 3).flatten(2)
    if place.picture:
        return flat(states)
    return turned(states) if place.turned else states


def as_read(rows: Tensor, place: BlockAnatomy) -> Tensor:
    """Rows (batch, token, width) as the block reads them."""
    if place.stream is not None and place.stream.count:
        return rows.view(*rows.shape[:-1], place.stream.count, -1).permute(2, 0, 1, 3)
    return turned(rows) if place.turned else rows
