"""Find what stands between the heads and the output projection: run the block again with other values, and compare.

A linear module that reads the heads' output times something would pass for the output projection whatever it reads,
since every tensor is another one times their quotient. So attention is given other values, at random, and the quotient
must stay what it was (a gate), or change by one number per row (a norm over all heads) or per row and head (a norm over
each). Anything else is no factor: maps would be shares of something that the model does not add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.maths.precision import at_least_float32
from contextmix.traces.places import LinearPlace, NormPlace, Outlet
from contextmix.traces.trace import Scores
from contextmix.tracing.discovery.diary import Attended, Call, mixed_values
from contextmix.tracing.recording.listeners import listening
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.replay import BlockReplay
from contextmix.tracing.recording.resolve import linear_form
from contextmix.tracing.recording.turns import before, undone
from contextmix.tracing.recording.verify import close

Kind = Literal["fixed", "row", "head"]
_GivenTaken = tuple[Tensor | None, Tensor | None]
"""What the heads gave, and what was read of it."""
_SCALES = (2.0, 0.6)
"""Of the other values, beside those of the probe: a norm must answer to them, a gate must not."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A linear module that may be the output projection.

    Attributes:
        call: Its call; what it read and wrote over (batch, token, channel).
        place: Where it is.
        reading: The call that reads the heads' output times a factor: its own, or that of the norm in front of it.
        norm: That norm.
        turned: Whether it reads (token, batch, channel).
    """

    call: Call
    place: LinearPlace
    reading: Call
    norm: NormPlace | None = None
    turned: bool = False


def factor_inside(moment: Attended, allowed: float) -> bool:
    """Whether the heads' output is not the values times the weights (a sink that is a factor)."""
    if moment.mixed is None:
        return False
    kinds = max(1, moment.mixed.shape[-1] // moment.output.shape[-1])  # of values: a head adds up what it makes of each
    mixed = moment.mixed.view(*moment.mixed.shape[:-1], kinds, -1).sum(-2)
    return not close(mixed, moment.output, allowed)


@dataclass(frozen=True, eq=False)
class OutletSearch:
    """Looks for the outlet of one attention call, in the call of a module around it.

    Attributes:
        model: The model.
        block: The call, its states over (batch, token, d_model).
        moment: The attention call in it.
        calls: The calls inside.
        norms: Those of them that are norms.
        path: Names a call.
        is_turned: See `BlockAnatomy`.
        allowed: The largest relative error.
    """

    model: PreTrainedModel
    block: Call
    moment: Attended
    calls: Sequence[Call]
    norms: Mapping[Call, NormPlace]
    path: Callable[[Call], str]
    is_turned: bool
    allowed: float

    def found(self) -> tuple[Call, LinearPlace, Outlet] | str:
        """The output projection and what stands in front of it; or what was tried, for a refusal."""
        candidates = list(self._candidates())
        if not candidates:
            return "no linear module behind attention reads as many channels as its heads have"
        try:
            runs = [self._again(candidates, seed) for seed in range(len(_SCALES))]
        except Exception as failure:  # whatever a model raises
            return f"it does not run a second time with other values ({type(failure).__name__}: {failure})"
        for one in candidates:
            outlet = self._outlet(one, runs)
            if outlet is not None:
                return one.call, one.place, outlet
        tried = ", ".join(dict.fromkeys(f"{one.place.path} ({type(one.call.module).__name__})" for one in candidates))
        return (
            f"with other values, what is read by {tried} is not the heads' output times a gate, nor times one number "
            "per row, or per row and head, as behind a norm (a mean that is subtracted, a bias, a part along the "
            "values that is taken away, a gate that depends on the values channel by channel?)"
        )

    def _candidates(self) -> Iterator[Candidate]:
        """Linear modules behind attention that read as many channels as the heads have, and write states."""
        behind = [call for call in self.calls if call.began > self.moment.time]
        tokens = self.moment.output.shape[:2]
        for own in behind:
            # in a block that is turned as a whole, windows of one token each would look like this
            backwards = not self.is_turned and own.read.ndim == 3 and own.read.shape[:2] == tokens[::-1] != tokens
            call = own.turned() if backwards else own
            fits = call.wrote.shape == self.block.read.shape and call.read.shape == self.moment.output.shape
            form = linear_form(call.module, call.read, call.wrote, self.allowed) if fits else None
            if form is None:
                continue
            one = Candidate(call, LinearPlace(self.path(call), None, form), call, turned=backwards)
            for norm, place in self.norms.items():
                if norm in behind and norm.read.shape == call.read.shape and self._is_read(norm, call):
                    yield replace(one, reading=norm, norm=place)
            yield one

    def _is_read(self, norm: Call, call: Call) -> bool:
        return close(norm.wrote, call.read, self.allowed)

    def _again(self, candidates: Sequence[Candidate], seed: int) -> _OtherValues:
        """Another run of the block, with other values."""
        block = self.block
        ear = _OtherValues(seed)
        replay = BlockReplay.of(self.model, block.module, block.args, block.kwargs, self.is_turned)
        with torch.no_grad(), ExitStack() as stack:
            for module in {one.reading.module for one in candidates}:
                stack.enter_context(undone(before(module, ear.note).remove))
            replay.run(block.read, ear)
        return ear

    def _outlet(self, one: Candidate, runs: Sequence[_OtherValues]) -> Outlet | None:
        """What stands between the heads and this module; None if that is no factor."""
        moment, inside = self.moment, factor_inside(self.moment, self.allowed)
        if inside:  # the weights do not hold it, but it belongs to them: one number, whatever the values
            own = self._kind((moment.mixed, moment.output), [(run.mixed, run.output) for run in runs])
            if own != ("fixed", True):
                return None
        read = one.reading.read
        others = [(run.output, run.read.get(one.reading.module)) for run in runs]
        found = self._kind((moment.output, read), others)
        if found is None:
            return None
        kind, flat = found
        untouched = kind == "fixed" and close(moment.output, read, self.allowed)
        return Outlet(None if untouched else kind, flat and not untouched, inside, one.norm, one.turned)

    def _kind(self, first: _GivenTaken, others: Sequence[_GivenTaken]) -> tuple[Kind, bool] | None:
        """To what the quotient of two tensors answers, and whether it is one number per head; None if it is none."""
        own, quotients = self._quotient(*first), [self._quotient(*other) for other in others]
        if own is None:
            return None
        kinds = [None if other is None else self._change(own, other) for other in quotients]
        flat = self._same(own, own.mean(-1, keepdim=True).expand_as(own))
        widest = next((kind for kind in (None, "head", "row", "fixed") if kind in kinds), None)
        return None if widest is None else (widest, flat)

    def _quotient(self, given: Tensor | None, taken: Tensor | None) -> Tensor | None:
        """(row, head, channel): zero where nothing is given and nothing taken; None if something is taken there."""
        if given is None or taken is None or given.numel() != taken.numel():
            return None
        given, taken = (
            at_least_float32(one).reshape(-1, self.moment.n_heads, given.shape[-1] // self.moment.n_heads)
            for one in (given, taken)
        )
        nothing = given == 0
        if bool(taken[nothing].any()):
            return None
        return (taken / given.masked_fill(nothing, 1)).masked_fill(nothing, 0)

    def _change(self, first: Tensor, other: Tensor) -> Kind | None:
        """How one quotient became another."""
        if self._same(first, other):
            return "fixed"
        if first[0].numel() > first.shape[1] and self._same(_scaled_like(first, other, (-2, -1)), other):
            return "row"
        if first.shape[-1] > 1 and self._same(_scaled_like(first, other, (-1,)), other):
            return "head"
        return None

    def _same(self, left: Tensor, right: Tensor) -> bool:
        """Number by number: quotients of small numbers are as exact as those of large ones."""
        return bool(((left - right).abs() <= self.allowed * torch.maximum(left.abs(), right.abs())).all())


def _scaled_like(first: Tensor, other: Tensor, over: tuple[int, ...]) -> Tensor:
    """One tensor times the number, for all of these axes, that brings it nearest to another."""
    return first * ((first * other).sum(over, keepdim=True) / first.square().sum(over, keepdim=True))


class _OtherValues:
    """Gives attention other values, at random, and notes what the heads gave and what modules behind them read."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.mixed: Tensor | None = None
        self.output: Tensor | None = None
        self.read: dict[nn.Module, Tensor] = {}

    def edited(self, module: nn.Module, n_heads: int, value: Tensor) -> Tensor:
        """See `ValueEditor`."""
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(value.shape, generator=generator).to(value)
        return noise * value.std() * _SCALES[self.seed]

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `Listener`."""
        self.mixed, self.output = mixed_values(attention, value), output.flatten(2).clone()

    def note(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pre-hook; what a module reads first."""
        states = first_states(args, kwargs)
        if listening(self) and self.output is not None and states is not None:
            self.read.setdefault(module, states.clone())
