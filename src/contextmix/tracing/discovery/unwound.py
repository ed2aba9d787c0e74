"""A block of a diary with all of its states over (batch, token), whatever axes and windows its modules have them in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from contextmix.tracing.discovery.diary import Attended, Call
from contextmix.tracing.recording.blocks.picture_windows import Windows, flat, windows_of
from contextmix.tracing.recording.resolve import recognise_norm
from contextmix.tracing.recording.verify import close


def unwound(
    block: Call, calls: Sequence[Call], moment: Attended, allowed: float, picture: bool
) -> tuple[Call, list[Call], Attended, Windows | None]:
    """The same block, calls inside of it and attention, with the windows in which it attends if there are any.

    Args:
        block: The block.
        calls: The calls inside of it.
        moment: Its attention.
        allowed: The relative difference between what a norm computes twice.
        picture: Whether states of four axes are rows and columns of a picture.
    """
    outer = _flat(block) if picture else block
    plain = [_flat(call) for call in calls] if picture else list(calls)
    batch = len(outer.read)
    if outer.read.ndim != 3 or moment.output.shape[:2] == outer.read.shape[:2]:
        return outer, plain, moment, None
    norms = (
        call
        for call in plain
        if call.ended < moment.time
        and close(call.read, outer.read, allowed)
        and recognise_norm(call.path, call.module, call.read, call.wrote, allowed)
    )
    norm = next(norms, None)
    windows = windows_of(block.module, block.args, block.kwargs, None if norm is None else norm.module, moment.module)
    if windows is None or not windows.hold(moment.output, batch):
        return outer, plain, moment, None

    def own(states: Tensor) -> Tensor:
        return windows.tokens(states) if windows is not None and windows.hold(states, batch) else states

    inner = [replace(call, read=own(call.read), wrote=own(call.wrote)) for call in plain]
    mixed = None if moment.mixed is None else own(moment.mixed)
    return outer, inner, replace(moment, value=own(moment.value), output=own(moment.output), mixed=mixed), windows


def _flat(call: Call) -> Call:
    return replace(call, read=flat(call.read), wrote=flat(call.wrote))
