"""Find the linear maps that make values and gates, also where one module makes several things at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from contextmix.maths.precision import at_least_float32
from contextmix.traces.places import GatedPlaces, LinearPlace, Matrices
from contextmix.tracing.discovery.activations import ACTIVATIONS, Activation
from contextmix.tracing.discovery.diary import Call
from contextmix.tracing.recording.resolve import affine, flat_weight, linear_form

Same = Callable[[Tensor, Tensor], bool]
Path = Callable[[Call], str]


def linear_place(reading: Sequence[Call], wanted: Tensor, path: Path, close: float) -> LinearPlace | None:
    """The linear module that writes a tensor, alone or among other things.

    Args:
        reading: The calls that read what the map reads.
        wanted: (batch, n, d_out): what it writes. Nothing may act on it in between: these are the module's own numbers.
        path: Names a call.
        close: The relative difference between what a linear map computes twice.

    Returns:
        The place; None if no linear module writes these numbers.
    """
    for call in reading:
        form = linear_form(call.module, call.read, call.wrote, close)
        if form is None:
            continue
        if call.wrote.shape == wanted.shape and torch.equal(call.wrote, wanted):
            return LinearPlace(path(call), None, form)
        columns = _columns(call.wrote, wanted)
        if columns is not None:
            return LinearPlace(path(call), columns, form)
    return None


def shifted_place(
    reading: Sequence[Call], wanted: Tensor, block: nn.Module, path: Path, close: float
) -> LinearPlace | None:
    """The linear module that writes a tensor up to a parameter that is added afterwards (DeBERTa's value bias).

    Args:
        reading: The calls that read what the map reads.
        wanted: (batch, n, d_out): what it writes in the end.
        block: Where the parameter is looked for.
        path: Names a call.
        close: The relative difference between what a linear map computes twice.
    """
    for call in reading:
        form = linear_form(call.module, call.read, call.wrote, close)
        if form is None or call.wrote.shape[:-1] != wanted.shape[:-1]:
            continue
        changes, own = (_changes(tensor) for tensor in (wanted, call.wrote))
        columns = torch.cdist(changes, own).argmin(-1)
        if float((own[columns] - changes).abs().max()) > close * float(changes.abs().max()):
            continue
        shift = (wanted - call.wrote[..., columns]).flatten(0, -2).mean(0)
        for name, parameter in block.named_parameters():
            flat = parameter.detach().flatten()
            if flat.shape == shift.shape and float((flat - shift).abs().max()) <= close * float(wanted.abs().max()):
                return LinearPlace(path(call), tuple(columns.tolist()), form, added=name)
    return None


def _changes(tensor: Tensor) -> Tensor:
    """(d_out, token - 1): how each column changes over the tokens, whatever is added to it."""
    rows = tensor.flatten(0, -2)
    return (rows[1:] - rows[:1]).T.contiguous()


def parameter_places(block: nn.Module, read: Tensor, width: int) -> Iterator[tuple[LinearPlace, Tensor]]:
    """What each parameter of a block that no linear module holds makes of a tensor, as a map to so many outputs.

    Args:
        block: The block.
        read: (batch, n, d_in).
        width: d_out.
    """
    d_in = read.shape[-1]
    for path, parameter in block.named_parameters():
        if parameter.ndim > 1 and parameter.numel() == d_in * width and parameter.is_floating_point():
            for transposed in (True, False):
                weight = flat_weight(at_least_float32(parameter.detach()), d_in, transposed)
                yield LinearPlace(path, None, transposed, d_in), at_least_float32(read) @ weight


def uncalled_places(
    block: nn.Module, calls: Sequence[Call], read: Tensor, width: int
) -> Iterator[tuple[LinearPlace, Tensor]]:
    """What each linear module of a block that the run never called makes of a tensor: its parameters may be used.

    Args:
        block: The block.
        calls: The calls inside of it.
        read: (batch, n, d_in).
        width: d_out.
    """
    called = {call.module for call in calls}
    for path, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if module in called or not isinstance(weight, Tensor) or tuple(weight.shape) != (width, read.shape[-1]):
            continue
        matrix, bias = affine(block, path, transposed=False)
        made = at_least_float32(read) @ matrix
        yield LinearPlace(path), made if bias is None else made + bias


def _columns(wrote: Tensor, wanted: Tensor) -> tuple[int, ...] | None:
    """Which columns of one tensor another one is made of."""
    if wrote.shape[:-1] != wanted.shape[:-1]:
        return None
    known = {column: number for number, column in enumerate(_as_tuples(wrote))}
    found = [known.get(column, -1) for column in _as_tuples(wanted)]
    return None if -1 in found else tuple(found)


def _as_tuples(tensor: Tensor) -> Iterator[tuple[float, ...]]:
    return map(tuple, tensor.flatten(0, -2).T.tolist())


@dataclass(frozen=True)
class _Half:
    """What a linear map wrote, or one half of it."""

    place: LinearPlace
    wrote: Tensor


def matrices_place(
    calls: Sequence[Call], read: Tensor, wrote: Tensor, path: Path, close: float, same: Same
) -> Matrices | None:
    """A feed-forward part that is linear, activation, linear, from modules; see `gated_places`."""

    def form(call: Call) -> bool | None:
        return linear_form(call.module, call.read, call.wrote, close)

    def reading(tensor: Tensor) -> list[Call]:
        return [call for call in calls if same(call.read, tensor)]

    for first in reading(read):
        for active in reading(first.wrote) if form(first) is not None else ():
            for second in reading(active.wrote) if active.wrote.shape == first.wrote.shape else ():
                if form(second) == form(first) and same(second.wrote, wrote):
                    return Matrices(path(first), path(active), path(second), bool(form(first)))
    return None


def gated_places(
    calls: Sequence[Call], read: Tensor, wrote: Tensor, path: Path, close: float, same: Same
) -> GatedPlaces | None:
    """A gated feed-forward part: two linear maps of one input, one of them activated, multiplied, and a third map.

    Args:
        calls: The calls inside the block.
        read: What the feed-forward part reads.
        wrote: What it writes.
        path: Names a call.
        close: The relative difference between what a linear map computes twice.
        same: Whether two tensors are the same.

    Returns:
        The places; None if it is no such part.
    """

    def form(call: Call) -> bool | None:
        return linear_form(call.module, call.read, call.wrote, close)

    seconds = [call for call in calls if same(call.wrote, wrote) and form(call) is not None]
    firsts = [call for call in calls if same(call.read, read) and form(call) is not None]
    for second in seconds:
        halves = [half for call in firsts for half in _halves(call, path, bool(form(call)), second.read.shape[-1])]
        fitting = [
            (float((activation(gate.wrote) * up.wrote - second.read).abs().max()), number, gate, up, name)
            for gate in halves
            for up in halves
            if gate is not up
            for number, (name, activation) in enumerate(_activations(calls, gate.wrote, path, same))
            if same(activation(gate.wrote) * up.wrote, second.read)
        ]
        if fitting:
            _, _, gate, up, name = min(fitting, key=lambda one: one[:2])
            return GatedPlaces(gate.place, up.place, LinearPlace(path(second), None, bool(form(second))), name)
    return None


def _halves(call: Call, path: Path, transposed: bool, width: int) -> Iterator[_Half]:
    """The whole output of a linear map, or its halves where it makes gate and up together."""
    count = call.wrote.shape[-1]
    if count == width:
        yield _Half(LinearPlace(path(call), None, transposed), call.wrote)
    if count == 2 * width:
        every = range(count)
        for columns in (every[:width], every[width:], every[::2], every[1::2]):
            yield _Half(LinearPlace(path(call), tuple(columns), transposed), call.wrote[..., list(columns)])


def _activations(
    calls: Sequence[Call], gate: Tensor, path: Path, same: Same
) -> Iterator[tuple[str | Activation, Activation]]:
    """What may stand behind a gate: modules without weights that read it, then the usual functions."""
    for call in calls:
        bare = call.read.shape == call.wrote.shape == gate.shape and next(call.module.parameters(), None) is None
        if bare and same(call.read, gate):
            yield path(call), call.module
    yield from ((activation, activation) for activation in ACTIVATIONS)
