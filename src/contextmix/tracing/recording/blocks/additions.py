"""What a block adds to its stream beside attention and feed-forward part, as its modules write it in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from contextmix.maths.precision import at_least_float32
from contextmix.traces.anatomy import BlockAnatomy, Sublayer
from contextmix.tracing.recording.resolve import part
from contextmix.tracing.recording.turns import after

Note = Callable[[str], Callable[..., None]]


def listen_to_additions(block: nn.Module, place: BlockAnatomy, note: Note) -> Iterator[object]:
    """Hooks that note what is added, each under the name of its place."""
    for name, addition in _named(place):
        yield after(part(block, addition), note(name))


def names_of_additions(place: BlockAnatomy) -> list[str]:
    """Under which names it is noted."""
    return [name for name, _ in _named(place)]


def taken_additions(said: dict[str, Tensor], place: BlockAnatomy) -> dict[str, Any]:
    """What was noted of the two sub-layers, each summed and taken out of what was said."""
    return {
        f"{kind}_added": _sum([_scaled(said.pop(f"{kind}_{n}"), one.scale) for n, one in enumerate(own.additions)])
        for kind, own in _sublayers(place)
    }


def _named(place: BlockAnatomy) -> Iterator[tuple[str, str]]:
    for kind, own in _sublayers(place):
        for number, addition in enumerate(own.additions):
            yield f"{kind}_{number}", addition.output
    if place.beside is not None:
        yield "beside_out", place.beside.output


def _sublayers(place: BlockAnatomy) -> tuple[tuple[str, Sublayer], ...]:
    return ("attention", place.attention), ("ffn", place.ffn)


def _scaled(states: Tensor, scale: float | Tensor) -> Tensor:
    return at_least_float32(states.detach()) * scale


def _sum(added: list[Tensor]) -> Tensor | None:
    return torch.stack(added).sum(0) if added else None
