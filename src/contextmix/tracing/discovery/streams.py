"""Read a block in which a stream passes the block equation between two tensors in the middle.

What the block does around that, on its way in and out, reads one token at a time, which `locality` proves of the whole
block, and tokens mix nowhere else. It may carry several streams of each token, a narrower one, or do something with
what attention left that is no sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from transformers import PreTrainedModel

from contextmix.traces.anatomy import BlockAnatomy
from contextmix.traces.places import StreamPlaces
from contextmix.tracing.discovery.claims import NotABlock, Sums
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
        self.every, self.known = self.calls, diary.streams

    def block(self, model: PreTrainedModel) -> BlockAnatomy:
        """See `BlockReader`."""
        if not self._applies():
            raise NotABlock("its states have no axis of streams in front of batch and token")
        reason: NotABlock | None = None
        known = self.known.get(type(self.outer.module))
        for entry, leaving, written in sorted(self._ends(), key=lambda ends: self._places(*ends) != known):
            self.entered, self.left = entry.wrote if written else entry.read, leaving.read
            self.calls = [call for call in self.every if call.ended < leaving.began]
            try:
                found = super().block(model)
            except NotABlock as failure:
                reason = reason or failure
                continue
            places = self.known[type(self.outer.module)] = self._places(entry, leaving, written)
            return replace(found, stream=places)
        raise reason or NotABlock("no norm in it reads one stream in front of attention")

    def _applies(self) -> bool:
        return self.outer.read.shape[1:3] == self.moment.output.shape[:2]

    def _places(self, entry: Call, leaving: Call, written: bool) -> StreamPlaces:
        count = len(self.outer.read) if self.outer.read.ndim == 4 else 0
        return StreamPlaces(self._path(entry), self._path(leaving), count, written)

    def _ends(self) -> Iterator[tuple[Call, Call, bool]]:
        """What may show the stream in front of attention and behind all that is added, the farthest first.

        Whether the first of them writes it is said, too.
        """
        for entry in self.norms:
            if entry.ended < self.moment.time and self._is_last(entry) and entry.read.ndim == 3:
                for leaving in reversed(self.every):
                    behind = leaving.began > self.moment.time and leaving.read.shape == entry.read.shape
                    if behind and self._is_last(leaving):
                        yield entry, leaving, False

    def _is_last(self, call: Call) -> bool:
        return all(other.module is not call.module or other.began <= call.began for other in self.every)


class InnerReader(StreamReader):
    """Reads blocks of which only the sum after attention is to be seen: all that follows reads one token at a time."""

    @staticmethod
    def fits(call: Call) -> bool:
        """See `BlockReader`."""
        return call.read.ndim == 3

    def sums(self, projection: Call) -> Sums:
        """See `BlockReader`."""
        found = self._alone(projection)
        if found is None:
            raise NotABlock("no module reads a sum of a stream and attention")
        return found

    def _applies(self) -> bool:
        return True

    def _ends(self) -> Iterator[tuple[Call, Call, bool]]:
        leaving = [one for one in reversed(self.every) if one.began > self.moment.time and self._is_last(one)]
        for written in (False, True):
            for entry in self.every:
                if entry.ended < self.moment.time and self._is_last(entry):
                    shape = (entry.wrote if written else entry.read).shape
                    yield from ((entry, one, written) for one in leaving if one.read.shape == shape)
