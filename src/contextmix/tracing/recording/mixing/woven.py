"""Hear a mixer that no single product holds: run its module again on unit values, with all else as it was.

Queries, keys, masks and gates come of the same call, so what the module makes of the value 1 at token j and 0 at all
others is column j of its map. Channels of one head share a map, so each carries another token: n / d_head runs of the
module show the whole map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from contextmix.errors import UnsupportedModel
from contextmix.traces.mixing import Strand, Woven
from contextmix.tracing.recording.listeners import Listener, listening, unheard
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.turns import after, before, of_this_thread, undone
from contextmix.tracing.recording.upcast import called


@dataclass(eq=False)
class Weaving:
    """One call of a module, to be made again with other outputs of some modules inside of it.

    Attributes:
        module: The module.
        args: What it was called with.
        kwargs: The same.
        projection: The module inside of it whose input is what its heads give; None if it gives that itself.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    projection: nn.Module | None = None

    def again(self, written: Mapping[nn.Module, Tensor]) -> Tensor:
        """What the output projection reads (batch, query, channel) where these modules write other things."""
        kept: list[Tensor] = []
        said = self.output(written, kept)
        found = kept[0] if self.projection is not None else first_states(said)
        assert found is not None
        return found

    def output(self, written: Mapping[nn.Module, Tensor], kept: list[Tensor] | None = None) -> Any:
        """What the module gives then; what the output projection reads is added to what is kept."""

        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            read = first_states(args, kwargs)
            if kept is not None and read is not None:
                kept.append(read.clone())

        with ExitStack() as stack, unheard():
            for module, states in written.items():
                writes = _writes(states)
                stack.enter_context(called(module, writes))  # it need not compute what nobody reads
                stack.enter_context(undone(after(module, writes).remove))  # nor do hooks of the user's change it again
            if self.projection is not None:
                stack.enter_context(undone(before(self.projection, note).remove))
            return self.module(*self.args, **self.kwargs)


def _writes(states: Tensor) -> Callable[..., Tensor]:
    return lambda *_, **__: states.clone()  # a module may change what it was given in place


@dataclass(eq=False)
class _Heard:
    """What is known of one call while it runs."""

    call: Weaving
    wrote: dict[nn.Module, Tensor] = field(default_factory=dict)
    routing: dict[nn.Module, Tensor] = field(default_factory=dict)


@contextmanager
def weaving(mixers: Mapping[nn.Module, Woven], listener: Listener) -> Iterator[None]:
    """Tell a listener of these mixers, in this thread."""
    with ExitStack() as stack:
        for module, mixer in mixers.items():
            for handle in _Weaver(module, mixer, listener).hooks():
                stack.enter_context(undone(handle.remove))
        yield


class _Weaver:
    """Hears one module."""

    def __init__(self, module: nn.Module, mixer: Woven, listener: Listener) -> None:
        self.module, self.mixer, self.listener = module, mixer, listener
        self.makers = [module.get_submodule(strand.path) for strand in mixer.strands]
        self.projection = None if mixer.projection is None else module.get_submodule(mixer.projection)
        self.routing = [module.get_submodule(path) for path in mixer.routing]
        self.open: list[_Heard] = []

    def hooks(self) -> Iterator[Any]:
        yield before(self.module, self.enter)
        for maker in self.makers:
            yield after(maker, self.made)
        for module in self.routing:
            yield after(module, self.routed)
        if self.projection is not None:
            told = of_this_thread(self.projected)  # before anyone writes down that the projection began
            yield self.projection.register_forward_pre_hook(told, with_kwargs=True, prepend=True)
        yield after(self.module, self.leave)

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call begins."""
        if listening(self.listener):
            self.open.append(_Heard(Weaving(module, args, kwargs, self.projection)))

    def made(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Values are made."""
        wrote = first_states(output)
        if not (listening(self.listener) and self.open) or wrote is None:
            return
        if module in self.open[-1].wrote:
            raise UnsupportedModel(
                f"{type(self.module).__name__} makes values in two calls of one {type(module).__name__}, so what they "
                "are of cannot be told. No number was produced."
            )
        self.open[-1].wrote[module] = wrote.clone()

    def routed(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Something is computed that no value changes."""
        if listening(self.listener) and self.open and isinstance(output, Tensor):
            self.open[-1].routing[module] = output.clone()

    def projected(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What the heads give is read inside of the call."""
        read = first_states(args, kwargs)
        if listening(self.listener) and self.open and read is not None:
            self._tell(self.open[-1], read)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """The call ends; where a listener changes values, it is made again with these."""
        if not listening(self.listener):
            return None
        heard = self.open.pop()
        listener: Any = self.listener
        if hasattr(listener, "edited"):  # a ValueEditor
            values = listener.edited(module, self._n_heads, self._values(heard))
            return heard.call.output(self._written(values, heard) | heard.routing)
        read = first_states(output)
        if self.projection is None and read is not None:
            self._tell(heard, read)
        return None

    @property
    def _n_heads(self) -> int:
        return sum(len(strand.reads) for strand in self.mixer.strands)

    def _tell(self, heard: _Heard, read: Tensor) -> None:
        listener: Any = self.listener
        if getattr(listener, "deaf", False) or hasattr(listener, "edited"):
            return
        with torch.no_grad():
            weights = self._weights(heard, read)
        rows: slice | None = getattr(listener, "rows", None)  # a RowListener
        output = read.view(*read.shape[:-1], -1, len(self.mixer.strands[0].reads[0]))
        shown = weights if rows is None else weights[:, :, rows]
        listener.heard(self.module, shown, self._values(heard), output, None)

    def _values(self, heard: _Heard) -> Tensor:
        """(batch, head, token, d_head); zeros of a module that was not called."""
        found = [
            None if wrote is None else values_of(strand, wrote)
            for strand, wrote in ((strand, heard.wrote.get(m)) for strand, m in self._pairs())
        ]
        like = next(one for one in found if one is not None)
        shapes = [len(strand.reads) for strand in self.mixer.strands]
        return torch.cat(
            [
                like.new_zeros(like.shape[0], count, *like.shape[2:]) if one is None else one
                for one, count in zip(found, shapes, strict=True)
            ],
            dim=1,
        )

    def _pairs(self) -> Sequence[tuple[Strand, nn.Module]]:
        return list(zip(self.mixer.strands, self.makers, strict=True))

    def _written(self, values: Tensor, heard: _Heard) -> dict[nn.Module, Tensor]:
        """What the modules that were called write for these values (batch, head, token, d_head)."""
        written, first = {}, 0
        for strand, maker in self._pairs():
            own = values[:, first : first + len(strand.reads)]
            first += len(strand.reads)
            if maker in heard.wrote:
                written[maker] = written_as(strand, own, heard.wrote[maker])
        return written

    def _weights(self, heard: _Heard, read: Tensor) -> Tensor:
        """(batch, head, query, key) of all heads."""
        batch, n = read.shape[:2]
        zeros = {maker: torch.zeros_like(wrote) for maker, wrote in heard.wrote.items()} | heard.routing
        return torch.cat(
            [
                unit_maps(heard.call, strand, maker, zeros, n)
                if maker in zeros
                else read.new_zeros(batch, len(strand.reads), n, n)
                for strand, maker in self._pairs()
            ],
            dim=1,
        )


def values_of(strand: Strand, wrote: Tensor) -> Tensor:
    """The values (batch, head, token, d_head) in what a module wrote."""
    states = wrote.transpose(0, 1) if strand.turned else wrote
    return states[..., torch.tensor(strand.reads, device=wrote.device)].movedim(-2, 1)


def written_as(strand: Strand, values: Tensor, wrote: Tensor) -> Tensor:
    """What a module would have written for these values (batch, head, token, d_head)."""
    states = (wrote.transpose(0, 1) if strand.turned else wrote).clone()
    states[..., torch.tensor(strand.reads, device=wrote.device)] = values.movedim(1, -2).to(states.dtype)
    return states.transpose(0, 1) if strand.turned else states


def unit_maps(
    call: Weaving, strand: Strand, maker: nn.Module, zeros: Mapping[nn.Module, Tensor], n_keys: int
) -> Tensor:
    """The maps (batch, head, query, key) of the heads of one module, from unit values."""
    d_head = len(strand.reads[0])
    feeds = torch.tensor(strand.feeds, device=zeros[maker].device)
    parts = []
    for start in range(0, n_keys, d_head):
        size = min(d_head, n_keys - start)
        values = values_of(strand, zeros[maker]).clone()
        steps = torch.arange(size, device=values.device)
        values[:, :, start + steps, steps] = 1
        made = call.again({**zeros, maker: written_as(strand, values, zeros[maker])})
        parts.append(made[..., feeds[:, :size]].movedim(-2, 1))
    return torch.cat(parts, dim=-1)
