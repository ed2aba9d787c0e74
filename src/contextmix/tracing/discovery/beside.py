"""Find mixers that stand beside attention in one block, both reading what enters it.

The output of such a mixer is read as an addition beside attention at first (`sums`). If the module that wrote it mixes
tokens, and does so channel by channel (`routed`), it is heard from then on, and is no addition but a mixer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from contextmix.traces.anatomy import BlockAnatomy
from contextmix.traces.mixing import Beside, Channels
from contextmix.tracing.discovery.diary import Attended, Call, Diary
from contextmix.tracing.discovery.routed import candidates, channels_of, mixes
from contextmix.tracing.recording.mixing.watch import watch
from contextmix.tracing.recording.resolve import linear_form
from contextmix.tracing.recording.verify import float32_tolerance


class _Found(NamedTuple):
    """A mixer beside attention: its call, that of its output projection, and how it is heard."""

    mixer: Call
    projection: Call
    channels: Channels


def with_beside(diary: Diary, outer: Call, moment: Attended, place: BlockAnatomy) -> BlockAnatomy:
    """A block whose one addition beside attention is a mixer, as one of two mixers; any other as it is.

    Args:
        diary: Of the run in which the block was read.
        outer: The call that is the block.
        moment: Its attention call.
        place: The block as it was read.
    """
    own = place.attention
    if len(own.additions) != 1 or own.norm_out is not None or place.outlet is not None or place.mixer is not None:
        return place
    added = next(call for call in diary.inside(outer) if _path(outer, call) == own.additions[0].output)
    for found in _beside(diary, outer, moment):
        if not torch.equal(found.projection.wrote, added.wrote):
            continue
        watch(found.mixer.module, found.channels)
        mixer = replace(found.channels, path=_path(outer, found.mixer))
        allowed = float32_tolerance(added.wrote.dtype)
        form = linear_form(found.projection.module, found.projection.read, found.projection.wrote, allowed)
        beside = Beside(mixer, own.additions[0].scale, bool(form))
        return replace(place, attention=replace(own, additions=()), beside=beside)
    return place


def find_beside(model: PreTrainedModel, diary: Diary) -> None:
    """Have the mixers beside attention heard from now on, where no anatomy was asked for."""
    for moment in diary.attended:
        layers = [call for call in diary.calls if call.began < moment.time < call.ended]
        for layer in sorted(layers, key=lambda call: call.began):
            above = model.get_submodule(layer.path.rpartition(".")[0])
            if layer.path and isinstance(above, nn.ModuleList) and layer.read.shape == layer.wrote.shape:
                for found in _beside(diary, layer, moment):
                    watch(found.mixer.module, found.channels)
                break


def _beside(diary: Diary, outer: Call, moment: Attended) -> Iterator[_Found]:
    """The mixers that do not hold the attention call of a block."""
    done: list[Call] = []
    for call in diary.inside(outer):
        holds = call.began < moment.time < call.ended or any(one.began < call.began < one.ended for one in done)
        states = call.read.shape == call.wrote.shape == outer.read.shape and len(call.read) == 1
        if holds or not states or next(call.module.children(), None) is None or not _moves_others(call):
            continue
        done.append(call)
        for mixer, projection in candidates(diary, call):
            channels = channels_of(mixer, projection)
            if channels is not None:
                yield _Found(mixer, projection, channels)
                break


def _moves_others(call: Call) -> bool:
    """Whether a module mixes tokens; one that does not run by itself is not known to."""
    with suppress(Exception):  # a module may refuse in any way
        return mixes(call)
    return False


def _path(outer: Call, call: Call) -> str:
    return call.path.removeprefix(outer.path).strip(".")
