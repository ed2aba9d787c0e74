"""Write down every module call of one run: who read what, who wrote what, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.traces.places import StreamPlaces
from contextmix.traces.trace import Scores
from contextmix.tracing.recording.blocks.windows import are_windows
from contextmix.tracing.recording.caches import untouched
from contextmix.tracing.recording.listeners import heard_by, listening
from contextmix.tracing.recording.mixing.routing import Routed
from contextmix.tracing.recording.quiet import first_states, over, quiet_run, turned
from contextmix.tracing.recording.recorder import of_every_head
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.recording.turns import after, before, turn_of, undone


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one module that maps hidden states to hidden states; times count the events of the run.

    What it was called with (``args``, ``kwargs``) is not copied; it is there to make the call again with other states.
    """

    path: str
    module: nn.Module
    read: Tensor
    wrote: Tensor
    began: int
    ended: int
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def over(self, tokens: Sequence[int]) -> Call:
        """The same call with its states over these axes (batch, token), where it read or wrote them in one row."""
        return replace(self, read=over(self.read, tokens), wrote=over(self.wrote, tokens))

    def turned(self) -> Call:
        """The same call with its states over (batch, token), where it read and wrote them over (token, batch)."""
        return replace(self, read=turned(self.read), wrote=turned(self.wrote))


@dataclass(frozen=True, eq=False)
class Attended:
    """One attention call: by whom, when, and what its heads read and wrote, all (batch, query, head · d_head).

    The shape is that of its weights. Queries and keys are None where attention passes outside of the registry.
    ``mixed`` is the sum of the values by the weights, which the output should be; None where the two do not fit.
    """

    module: nn.Module
    time: int
    n_heads: int
    shape: tuple[int, ...]
    query: Tensor | None
    key: Tensor | None
    value: Tensor
    output: Tensor
    mixed: Tensor | None = None


@dataclass
class Diary:
    """All module calls and attention calls of one run, in order; see `keep_diary`."""

    calls: list[Call] = field(default_factory=list)
    attended: list[Attended] = field(default_factory=list)
    streams: dict[type[nn.Module], StreamPlaces] = field(default_factory=dict)
    """Where the stream passes in blocks of a kind, as the last of them was read: the next is read the same way."""
    _clock: int = 0
    _open: list[tuple[int, Tensor | None, Any, Any]] = field(default_factory=list)

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `tap.Listener`."""
        query, key = (None, None) if scores is None else map(_over_heads, (scores.query, scores.key))
        output = output.flatten(2).clone()
        time, shape, mixed = self._tick(), tuple(attention.shape), mixed_values(attention, value)
        read = query, key, _over_heads(value)
        self.attended.append(Attended(module, time, shape[1], shape, *read, output, mixed))

    def routed(self, module: nn.Module, call: Routed) -> None:
        """See `RoutedListener`; each channel is a head."""
        batch, tokens, channels = call.output.shape
        shape, value = (batch, channels, tokens, tokens), _over_heads(call.value)
        self.attended.append(Attended(module, self._tick(), channels, shape, None, None, value, call.output.clone()))

    def join_windows(self) -> None:
        """Calls of one attention module, within one call of it, that share out its tokens, as one."""
        found: list[Attended] = []
        for call, moments in groupby(self.attended, self._own_call):
            own = list(moments)
            tokens = 0 if call is None else call.read.shape[-2]
            found += [_joined(own)] if are_windows([one.shape for one in own], tokens) else own
        self.attended = found

    def _own_call(self, moment: Attended) -> Call | None:
        own = (one for one in self.calls if one.module is moment.module and one.began < moment.time < one.ended)
        return next(own, None)

    def write_down(self, stack: ExitStack, path: str, module: nn.Module) -> None:
        """Hear the calls of a module, in this thread, until the stack closes."""
        stack.enter_context(undone(before(module, self.enter).remove))
        stack.enter_context(undone(after(module, self.leave(path)).remove))

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pre-hook. Tensors are copied: a model may add to them in place."""
        if not listening(self):
            return
        read = first_states(args, kwargs)
        given = untouched(args), untouched(kwargs)  # a cache among them is about to grow
        self._open.append((self._tick(), None if read is None else read.clone(), *given))

    def leave(self, path: str) -> Callable[..., None]:
        """A forward hook for the module at ``path``."""

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not listening(self):
                return
            began, read, given, kwargs = self._open.pop()
            wrote = first_states(output)
            if read is not None and wrote is not None and read.numel() and wrote.numel():  # an expert may read no token
                self.calls.append(Call(path, module, read, wrote.clone(), began, self._tick(), given, kwargs))

        return hook

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def inside(self, outer: Call) -> list[Call]:
        """The calls made within another, in the order in which they began."""
        within = [call for call in self.calls if outer.began < call.began and call.ended < outer.ended]
        return sorted(within, key=lambda call: call.began)

    def around(self, moment: Attended) -> Iterator[Call]:
        """The calls that hold this attention call and no other, and keep the shape of the states; largest first."""
        outer = [call for call in self.calls if call.began < moment.time < call.ended]
        for call in sorted(outer, key=lambda call: call.began):
            held = [other for other in self.attended if call.began < other.time < call.ended]
            if len(held) == 1 and call.read.shape == call.wrote.shape:
                yield call


def _joined(moments: Sequence[Attended]) -> Attended:
    last = moments[-1]

    def together(name: str) -> Any:
        parts = [getattr(one, name) for one in moments]
        return None if parts[0] is None else torch.cat(parts, 1)

    tokens = sum(one.shape[2] for one in moments)
    whole = {name: together(name) for name in ("query", "key", "value", "output", "mixed")}
    return replace(last, shape=(*last.shape[:2], tokens, tokens), **whole)


def _over_heads(tensor: Tensor) -> Tensor:
    """(batch, head, n, d_head) as (batch, n, head · d_head)."""
    return tensor.transpose(1, 2).flatten(2).clone()


def mixed_values(attention: Tensor, value: Tensor) -> Tensor | None:
    """The values (batch, key-value head, key, d_head) summed by the weights, (batch, query, head · d_head)."""
    if attention.shape[-1] != value.shape[-2] or attention.shape[1] % value.shape[1]:
        return None
    return (attention.to(value.dtype) @ of_every_head(value, attention.shape[1])).transpose(1, 2).flatten(2)


def keep_diary(model: PreTrainedModel, probe: Mapping[str, Tensor], *, attention: bool = True) -> Diary:
    """Run a model on a short input and write down every call, with its attention or as it runs by itself."""
    diary = Diary()
    with turn_of(model), ExitStack() as stack:
        for path, module in model.named_modules():
            diary.write_down(stack, path, module)
        with tapped(model, diary) if attention else heard_by(diary):
            quiet_run(model, probe)
    diary.join_windows()
    return diary
