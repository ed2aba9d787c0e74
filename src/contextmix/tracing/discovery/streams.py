"""Read a block that carries several streams of each token: one of them passes the block equation inside of it.

What the block does around that, on its way in and out, reads one token at a time, which `locality` proves of the whole
block. So the equation holds between two tensors in the middle of the block, and tokens mix nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from transformers import PreTrainedModel

from contextmix.traces.anatomy import BlockAnatomy, StreamPlaces
from contextmix.tracing.discovery.claims import NotABlock
from contextmix.tracing.discovery.diary import Attended, Call, Diary
from contextmix.tracing.discovery.sums import FurtherReader


class StreamReader(FurtherReader):
    """Reads blocks whose states have an axis in front: (stream, batch, token, d_model)."""

    pictures = False

    @staticmethod
    def fits(call: Call) -> bool:
        """See `BlockReader`."""
        return call.read.ndim == 4

    def __init__(self, diary: Diary, block: Call, moment: Attended) -> None:
        super().__init__(diary, block, moment)
        self.every = self.calls

    def block(self, model: PreTrainedModel) -> BlockAnatomy:
        """See `BlockReader`."""
        tokens = self.moment.output.shape[:2]
        if self.outer.read.shape[1:3] != tokens:
            raise NotABlock("its states have no axis of streams in front of batch and token")
        reason: NotABlock | None = None
        for entry, leaving in self._ends():
            self.entered, self.left = entry.read, leaving.read
            self.calls = [call for call in self.every if call.ended < leaving.began]
            try:
                found = super().block(model)
            except NotABlock as failure:
                reason = reason or failure
                continue
            return replace(found, stream=StreamPlaces(self._path(entry), self._path(leaving), len(self.outer.read)))
        raise reason or NotABlock("no norm in it reads one stream in front of attention")

    def _ends(self) -> Iterator[tuple[Call, Call]]:
        """What may read the stream in front of attention and behind the feed-forward part, the farthest first."""
        for entry in self.norms:
            if entry.ended < self.moment.time and self._is_last(entry) and entry.read.ndim == 3:
                for leaving in reversed(self.every):
                    behind = leaving.began > self.moment.time and leaving.read.shape == entry.read.shape
                    if behind and self._is_last(leaving):
                        yield entry, leaving

    def _is_last(self, call: Call) -> bool:
        return all(other.module is not call.module or other.began <= call.began for other in self.every)
