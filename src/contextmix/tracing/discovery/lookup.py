"""Look things up in the diary of a block: which call read or wrote a tensor, and what is added to what."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from contextmix.traces.places import NormPlace
from contextmix.tracing.discovery.diary import Attended, Call, Diary
from contextmix.tracing.discovery.unwound import unwound
from contextmix.tracing.recording.resolve import recognise_norm
from contextmix.tracing.recording.verify import close, float32_tolerance


def _is_turned(block: Call, moment: Attended) -> bool:
    """Whether a block's states are (token, batch, d_model) or (token, d_model), not (batch, token, d_model)."""
    states, heads = block.read.shape, moment.output.shape
    if len(states) == 2:
        return (1, states[0]) == heads[:2]
    return len(states) == 3 and states[:2] == (heads[1], heads[0]) != heads[:2]


class DiaryReader:
    """The calls of one block; every question is answered by comparing tensors."""

    pictures = True
    """Whether states of four axes are read as rows and columns of a picture."""

    @staticmethod
    def fits(call: Call) -> bool:
        """Whether a call may be a block of this kind."""
        return True

    def __init__(self, diary: Diary, block: Call, moment: Attended) -> None:
        self.turned = _is_turned(block, moment)
        self.picture = self.pictures and block.read.ndim == 4
        self.allowed = float32_tolerance(block.wrote.dtype)  # norms may compute in float32
        own, inside = block.turned() if self.turned else block, diary.inside(block)
        if not self.picture:
            inside = [call.over(block.read.shape[:-1]) for call in inside]
        calls = [call.turned() if self.turned else call for call in inside]
        self.outer, calls, self.moment, self.cut = unwound(own, calls, moment, self.allowed, self.picture)
        if self.picture and self.outer.read.shape[:2] != self.moment.output.shape[:2]:
            self.outer, self.picture = own, False  # its axes are something else
        self.entered, self.left = self.outer.read, self.outer.wrote
        self.calls = [call.over(self.entered.shape[:-1]) for call in calls] if self.picture else calls
        self.norms = {call: place for call in self.calls if (place := self._norm_place(call))}

    def _same(self, left: Tensor, right: Tensor, noise: float = 0.0) -> bool:
        return close(left, right, self.allowed, noise)

    def _scale(self, whole: Tensor, stream: Tensor, raw: Tensor) -> float | Tensor | None:
        """The number (or vector over d_model) s with whole = stream + s · raw; None if there is none."""
        if not whole.shape == stream.shape == raw.shape:
            return None
        added = whole - stream
        noise = (
            8 * torch.finfo(whole.dtype).eps * float(whole.abs().max())
        )  # a small addition is only known to rounding
        number = float((added * raw).sum() / raw.square().sum())
        if abs(number) > 1e-6 and self._same(raw * number, added, noise):
            return 1.0 if abs(number - 1) <= self.allowed else number
        over = tuple(range(raw.ndim - 1))
        vector = (added * raw).sum(over) / raw.square().sum(over)
        return (
            vector
            if vector.abs().max() > 1e-6 and raw.shape[-2] > 1 and self._same(raw * vector, added, noise)
            else None
        )

    def _reading(self, tensor: Tensor) -> list[Call]:
        return [call for call in self.calls if self._same(call.read, tensor)]

    def _norm_reading(self, tensor: Tensor, after: int = -1, before: int | None = None) -> Call | None:
        calls = (call for call in self.norms if call.began > after and (before is None or call.ended < before))
        return next((call for call in calls if self._same(call.read, tensor)), None)

    def _writing(self, whole: Tensor, stream: Tensor) -> tuple[Call, float | Tensor] | None:
        """The first call (in order of ending) whose output s times added to the stream gives the whole, and s."""
        for call in sorted(self.calls, key=lambda call: call.ended):
            if not self._same(call.wrote, self.left):
                scale = self._scale(whole, stream, call.wrote)
                if scale is not None:
                    return call, scale
        return None

    def _first_writing(self, tensor: Tensor) -> Call | None:
        calls = sorted(self.calls, key=lambda call: call.ended)
        return next((call for call in calls if self._same(call.wrote, tensor)), None)

    def _last(self, calls: Iterable[Call]) -> Call | None:
        return max(calls, key=lambda call: call.ended, default=None)

    def _follows(self, call: Call, projection: Call) -> bool:
        return call.began > projection.ended and call.read.shape == self.entered.shape

    def _norm_place(self, call: Call) -> NormPlace | None:
        return recognise_norm(self._path(call), call.module, call.read, call.wrote, self.allowed)

    def _place(self, norm: Call | None) -> NormPlace | None:
        return None if norm is None else self.norms[norm]

    def _path(self, call: Call) -> str:
        """Within the block. A module that blocks share (an activation) has its path in the first of them."""
        if not self.outer.path or f"{call.path}.".startswith(f"{self.outer.path}."):
            return call.path.removeprefix(self.outer.path).removeprefix(".")
        own: str = next(path for path, module in self.outer.module.named_modules() if module is call.module)
        return own
