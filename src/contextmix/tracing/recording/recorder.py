"""The frame of both recorders: hear what every block says, prove it, show it, forget it.

Each block is measured as it passes and then let go, so memory follows one layer, not the depth, unless the visitor
keeps what it is shown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TapSilent
from contextmix.traces.checks import Checks
from contextmix.traces.mixing import Mixing
from contextmix.traces.trace import LayerTrace, Scores
from contextmix.tracing.recording.blocks.picture_windows import flat
from contextmix.tracing.recording.listeners import listening
from contextmix.tracing.recording.mixing.routing import Routed
from contextmix.tracing.recording.mixing.watch import watch
from contextmix.tracing.recording.quiet import first_states, keep_freed_memory, quiet_run, turned
from contextmix.tracing.recording.replay import BlockReplay
from contextmix.tracing.recording.resolve import part
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.recording.turns import after, before, turn_of, undone
from contextmix.tracing.recording.verify import precision, prove


class Placed(Protocol):
    """Where a block is, from the model's root."""

    @property
    def path(self) -> str:
        """Its module path."""


Place = TypeVar("Place", bound=Placed)


class Attended(NamedTuple):
    """What one attention call read and weighed, with the values of every head."""

    attention: Tensor
    value: Tensor
    scores: Scores | None
    output: Tensor | None = None
    """What the heads gave, (batch, query, head, d_head), where something stands between them and their projection."""
    constant: Tensor | None = None
    """Of a mixer that is no attention: what its output projection reads without any value."""


def of_every_head(value: Tensor, heads: int) -> Tensor:
    """The values (batch, head, key, d_head) where neighbouring heads share them."""
    groups = heads // value.shape[1]
    return value if groups == 1 else value.repeat_interleave(groups, dim=1)


class Recorder(ABC, Generic[Place]):
    """Collects what one block says, and turns it into `LayerTrace`s when the block ends.

    Args:
        model: The model.
        places: Its blocks, in order; one that runs several times is named as often.
        visit: Called once per block, in order, with its `LayerTrace`s; what it does not keep is freed.
    """

    def __init__(self, model: PreTrainedModel, places: Sequence[Place], visit: Callable[..., None]) -> None:
        self.model, self.places, self.visit = model, places, visit
        self.checks, self.inside = Checks(), False
        self.said: dict[str, Tensor] = {}
        self.attended: list[Attended] = []
        self.replays: list[BlockReplay] = []
        self.ran_in: torch.dtype | None = None

    def run(self, inputs: Mapping[str, Any], *, last_logits: int = 0) -> tuple[Any, Checks]:
        """Run the model once and show every block.

        Returns:
            The model's outputs, and how well the trace proved itself.
        """
        keep_freed_memory()
        with turn_of(self.model), ExitStack() as stack:
            self._watch()
            for hook in self._hooks():
                stack.enter_context(undone(hook.remove))
            stack.enter_context(tapped(self.model, self))
            outputs = quiet_run(self.model, inputs, last_logits=last_logits)
        if self.number != len(self.places):
            raise TapSilent(self.silent())
        return outputs, self.checks

    @property
    def number(self) -> int:
        """The block that runs, or how many have run."""
        return self.checks.layers

    @property
    def turned(self) -> bool:
        """Whether the block that runs reads and writes (token, batch, d_model)."""
        return False

    @property
    def picture(self) -> bool:
        """Whether rows and columns of a picture are axes of the states of the block that runs."""
        return False

    # What a kind of block does its own way ---------------------------------------------------------------------------

    @abstractmethod
    def listen(self, block: nn.Module, place: Place) -> Iterator[Any]:
        """Hooks on what is noted inside of a block."""

    def shaped(self, states: Tensor) -> Tensor:
        """What a module inside of a block read or wrote, over the axes of what entered the block."""
        return states

    @abstractmethod
    def refuse_call(self, name: str) -> None:
        """An attention call of a module of this class, where none is expected."""

    @abstractmethod
    def refuse_other_anatomy(self) -> None:
        """A block that did not say what its place promises; a hand-written anatomy may be wrong."""

    @abstractmethod
    def steps(self, place: Place, ran_in: torch.dtype) -> tuple[LayerTrace, ...]:
        """What the block did, in order."""

    @abstractmethod
    def silent(self) -> str:
        """The refusal of a block that did not speak."""

    def mixers(self, place: Place) -> Iterator[Mixing | None]:
        """What is heard as attention in a block where it does not pass through the registry."""
        yield from ()

    def _watch(self) -> None:
        """A copy of a model, or one whose anatomy was written by hand, was never looked at."""
        for place in self.places:
            for mixer in self.mixers(place):
                if mixer is not None:
                    watch(part(part(self.model, place.path), mixer.path), mixer)

    # Hooks -----------------------------------------------------------------------------------------------------------

    def _hooks(self) -> Iterator[Any]:
        """Hooks on blocks and inside of them; a shared block is hooked once."""
        for place in {place.path: place for place in self.places}.values():
            block = part(self.model, place.path)
            yield before(block, self.enter)
            yield from self.listen(block, place)
            yield after(block, self.leave)

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `tap.Listener`."""
        self.refuse_call(type(module).__name__)
        self.attended.append(self.attended_by(attention, value, scores))

    def routed(self, module: nn.Module, call: Routed) -> None:
        """See `RoutedListener`."""
        self.refuse_call(type(module).__name__)
        with torch.no_grad():
            rows: slice = getattr(self, "rows", slice(None))
            constant = call.constant[:, rows]
            self.attended.append(Attended(call.attention(rows), call.value, None, constant=constant))

    def attended_by(self, attention: Tensor, value: Tensor, scores: Scores | None) -> Attended:
        """What is kept of an attention call."""
        return Attended(attention, of_every_head(value, attention.shape[1]), scores)

    def note(self, name: str) -> Callable[..., None]:
        """A forward hook that keeps a module's output; it returns None, or it would replace that output."""

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._keep(name, output)

        return hook

    def note_read(self, name: str) -> Callable[..., None]:
        """A forward pre-hook that keeps a module's input."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(name, args, kwargs)

        return hook

    def _keep(self, name: str, *places: Any) -> None:
        if self.inside and listening(self):
            states = first_states(*places)
            if states is not None:
                self.said[name] = self.shaped(states).clone()  # the block may add to it in place (Falcon)

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A block begins."""
        if listening(self):
            self.inside = True
            states = first_states(args, kwargs)
            assert states is not None  # a block reads hidden states, or it would be none
            self.said["entered"] = turned(states) if self.turned else flat(states) if self.picture else states
            self.replays.append(BlockReplay.of(self.model, module, args, kwargs, self.turned, self.picture))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A block ends: prove what was recorded, show it, forget it."""
        if not listening(self):
            return
        self.said.setdefault("left", self.shaped(first_states(output)))  # type: ignore[arg-type]
        self.refuse_other_anatomy()
        ran_in = self.ran_in = self.ran_in or precision(self.model, self.said["entered"])
        steps = self.steps(self.places[self.number], ran_in)
        self.inside, self.said, self.attended = False, {}, []
        with torch.no_grad():
            self._prove(steps, ran_in)
            self.show(*steps)

    def _prove(self, steps: Iterable[LayerTrace], ran_in: torch.dtype) -> None:
        checks = Checks()
        for step in steps:
            checks = checks.merged(prove(step, ran_in))
        self.checks = self.checks.merged(replace(checks, layers=1))

    def show(self, *steps: LayerTrace) -> None:
        """A proved block, to the visitor."""
        self.visit(*steps)

    def strays(self, names: Iterable[str]) -> list[str]:
        """Those of these states that a block did not leave in the shape of what entered it."""
        shape = self.said["entered"].shape
        return [name for name in names if getattr(self.said.get(name), "shape", None) != shape]
