"""Find attention outside of the registry: the product of weights and values whose result a linear map reads.

Every product of two tensors that a run on the probe makes is remembered. Where a linear module then reads the very
numbers of one, heads side by side, that product is what the heads mix, and its operands are the weights and the values:
of each arrangement of its axes only one gives these numbers. No name is looked at, and nothing is taken on trust: what
is caught from then on passes the same checks as attention that went through the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.traces.mixing import Mixer, Mixing
from contextmix.traces.trace import Scores
from contextmix.tracing.discovery.beside import find_beside
from contextmix.tracing.discovery.diary import Diary, keep_diary
from contextmix.tracing.discovery.routed import find_routed, refuse_unheard
from contextmix.tracing.discovery.weavers import find_weavers
from contextmix.tracing.recording.listeners import heard_by, listening, unheard
from contextmix.tracing.recording.mixing.products import Product, Reading, product_of
from contextmix.tracing.recording.mixing.watch import Counting, unwatch, watch, watched, watching
from contextmix.tracing.recording.quiet import first_states, quiet_run
from contextmix.tracing.recording.resolve import linear_form
from contextmix.tracing.recording.tap import can_be_switched
from contextmix.tracing.recording.turns import after, before, turn_of, undone
from contextmix.tracing.recording.verify import close, float32_tolerance

_LOOKED_AT: WeakSet[nn.Module] = WeakSet()


@dataclass(frozen=True, eq=False)
class _Made:
    """One product that the probe made: in which calls, as which of their products, and what it gave."""

    numbers: Sequence[tuple[nn.Module, int]]
    product: Product
    wrote: Tensor


def find_mixers(model: PreTrainedModel, run: Callable[[], object], run_two: Callable[[], object] | None = None) -> str:
    """Find the mixers of a model and have them heard from now on; nothing if there are none.

    Args:
        model: The model.
        run: Runs it on a probe of one sequence.
        run_two: Runs it on that sequence twice in a batch.

    Returns:
        What was tried, for a refusal.
    """
    search = _Search()
    with turn_of(model), heard_by(search), ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(undone(before(module, search.enter).remove))
            stack.enter_context(undone(after(module, search.leave).remove))
        stack.enter_context(search)
        run()
    for module, mixer in search.found.items():
        watch(module, mixer)
    if not search.found:
        woven = find_weavers(model, run)
        if watched(model):
            return ""
        return search.tried(woven)
    if run_two is not None and any(mixer.batch is None for mixer in search.found.values()):
        apart = _unwatch_other_batches(model, run_two)
        if apart is not None:
            return f"in {type(apart).__name__} one axis holds heads and batch, and not the batch first"
    return search.tried()


def heard_diary(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Diary:
    """The diary of a run with what its attention said, through the registry or, if nothing went there, outside of it.

    Raises:
        UnsupportedModel: If no attention can be heard; says what was tried.
    """
    named = f"{model.config.model_type!r} ({type(model).__name__})"
    refusal = f"{named} ran without one attention call through the registry of transformers"
    if can_be_switched(model) or watched(model):
        diary = keep_diary(model, inputs)
        if diary.attended:
            _LOOKED_AT.add(model)
            return _with_other_mixers(model, inputs, diary)
    else:
        refusal = f"{named} computes attention itself, outside the attention registry of transformers"
    tried = find_mixers(model, partial(quiet_run, model, inputs), partial(quiet_run, model, _twice(inputs)))
    diary = _with_other_mixers(model, inputs, keep_diary(model, inputs, attention=bool(watched(model))))
    if not diary.attended:
        raise UnsupportedModel(
            f"{refusal}, and what its heads mix cannot be separated from outside: {tried}. No number was produced."
        )
    _LOOKED_AT.add(model)
    return diary


def _with_other_mixers(model: PreTrainedModel, inputs: Mapping[str, Any], diary: Diary) -> Diary:
    """The diary with what the mixers said that are no attention, in layers that made no attention call."""
    known = len(watched(model))
    find_routed(model, diary)
    return diary if len(watched(model)) == known else keep_diary(model, inputs)


def ensure_heard(model: PreTrainedModel, inputs: Mapping[str, Any]) -> None:
    """Find what is to be heard of a model that computes attention itself or has other mixers, if nobody has looked yet.

    Raises:
        UnsupportedModel: If no attention can be heard, or a layer mixes tokens unheard; says what was tried.
    """
    if not watched(model) and model not in _LOOKED_AT:
        diary = heard_diary(model, inputs)
        refuse_unheard(model, diary)
        find_beside(model, diary)


def _twice(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: torch.cat([one, one]) if isinstance(one, Tensor) and one.ndim > 1 else one for name, one in inputs.items()
    }


def placed(mixer_of: nn.Module, block: nn.Module) -> Mixing | None:
    """The mixer of a module as it is written down for its block; None if its attention passes through the registry."""
    mixer = watched(block).get(mixer_of)
    if mixer is None:
        return None
    return replace(mixer, path=next(path for path, module in block.named_modules() if module is mixer_of))


class _Search(Counting):
    """Remembers products, and matches them with what linear modules read."""

    def __init__(self) -> None:
        super().__init__(self)
        self.made_so_far: list[_Made] = []
        self.read: list[Tensor | None] = []
        self.found: dict[nn.Module, Mixer] = {}

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `Listener`; attention that passes through the registry is none of its business."""

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call begins."""
        super().enter(module, args, kwargs)
        if listening(self):
            self.read.append(first_states(args, kwargs))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A call ends; if it is linear in the numbers of a product, that product is a mixer."""
        super().leave(module, args, output)
        if not listening(self):
            return
        read, wrote = self.read.pop(), first_states(output)
        if read is None or wrote is None or read.ndim not in (3, 4):
            return
        with unheard():  # products of our own are none of the model's
            for made, mixer in self._matching(read):
                if linear_form(module, read, wrote, float32_tolerance(read.dtype)) is not None:
                    self.found.setdefault(made.numbers[-1][0], mixer)

    def _matching(self, read: Tensor) -> Iterator[tuple[_Made, Mixer]]:
        """The products whose numbers a tensor holds, heads side by side, with the way to read them."""
        for made in self.made_so_far:
            if made.wrote.numel() == read.numel():
                ways = [*_readings(made), *_readings_of_windows(made, len(read) if read.ndim > 2 else 1)]
                mixer = next((one for one in ways if _is_read(one, made, read)), None)
                if mixer is not None:
                    yield made, mixer

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """See `Counting`; a linear function may be called by no module."""
        if func is nn.functional.linear and self.open and listening(self):
            self._read(args[0])
        return super().__torch_function__(func, types, args, kwargs)

    def _read(self, read: Tensor) -> None:
        """A linear map reads a tensor: if it holds the numbers of a product, that product is a mixer."""
        for made, mixer in self._matching(read):
            self.found.setdefault(made.numbers[-1][0], mixer)

    def made(
        self,
        numbers: Sequence[tuple[nn.Module, int]],
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """See `Counting`."""
        wrote = func(*args, **kwargs)
        product = product_of(func, args, kwargs)
        operands = [one for one in args if isinstance(one, Tensor)]
        if any(isinstance(one, nn.Parameter) for one in operands):  # a linear map that is no module
            for read in (one for one in operands if not isinstance(one, nn.Parameter) and one.ndim > 2):
                self.found |= {made.numbers[-1][0]: mixer for made, mixer in self._matching(read)}
        elif product is not None:
            self.made_so_far.append(_Made(numbers, product, wrote.clone()))
        return wrote

    def tried(self, woven: int = 0) -> str:
        """What was looked at, in words; so many modules were run again."""
        again = (
            f"; {woven} modules were run again with other outputs of linear modules in them, and none of them is a "
            "linear mixer of these"
        )
        return self._products() + (again if woven else "")

    def _products(self) -> str:
        kinds = list(dict.fromkeys(type(made.numbers[-1][0]).__name__ for made in self.made_so_far))
        if not kinds:
            return (
                "it makes no product of two tensors, like a network of convolutions, whose mixing is no map of tokens"
            )
        return (
            f"it makes {len(self.made_so_far)} products of two tensors (in {', '.join(kinds)}), and none of them is "
            "read by a linear module as heads side by side"
        )


def _readings(made: _Made) -> Iterator[Mixer]:
    """All ways to read a product of one sequence as weights and values."""
    shared = [made.wrote.shape[made.product.axes[2].index(axis)] for axis in made.product.shared]
    number = made.numbers[-1][1]
    for value in (1, 0):
        for batch, size in enumerate(shared):
            if size == 1:
                yield Mixer("", number, value, batch, prod(shared))
        if len(shared) == 1:
            yield Mixer("", number, value, None, shared[0])


def _readings_of_windows(made: _Made, windows: int) -> Iterator[Mixer]:
    """All ways to read a product of one sequence that is cut into so many windows."""
    shared = [made.wrote.shape[made.product.axes[2].index(axis)] for axis in made.product.shared]
    number = made.numbers[-1][1]
    for value in (1, 0) if windows > 1 else ():
        for batch, size in enumerate(shared):
            if size == windows:
                yield Mixer("", number, value, batch, prod(shared) // windows)
        if len(shared) == 1 and shared[0] % windows == 0:
            yield Mixer("", number, value, None, shared[0] // windows)


def _is_read(mixer: Mixer, made: _Made, read: Tensor) -> bool:
    """Whether a tensor of one sequence is what a product gave, heads side by side, and its operands make it."""
    reading = Reading(made.product, mixer)
    output = reading.output(made.wrote)
    rows = read.reshape(*output.shape[:2], -1)  # of one sequence or its windows, whichever axis is its batch
    if not close(output.flatten(2), rows, float32_tolerance(read.dtype)):
        return False
    weights, values = reading.weights(), reading.values()
    if weights.shape[1] % values.shape[1]:
        return False
    again = weights @ values.repeat_interleave(weights.shape[1] // values.shape[1], dim=1)
    return close(again.transpose(1, 2), output, float32_tolerance(read.dtype))


class _Both:
    """Hears the values of a sequence that stands twice in a batch; see `Listener`."""

    def __init__(self) -> None:
        self.apart: nn.Module | None = None

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        first, second = value[: len(value) // 2], value[len(value) // 2 :]
        if len(first) == len(second) and not close(first, second, 10 * float32_tolerance(value.dtype)):
            self.apart = module


def _unwatch_other_batches(model: PreTrainedModel, run: Callable[[], object]) -> nn.Module | None:
    """Where one axis holds batch and heads, the batch must come first: a sequence that stands there twice tells."""
    both, mixers = _Both(), watched(model)
    try:
        with turn_of(model), heard_by(both), watching(mixers, both):
            run()
    except Exception:  # a model that does not run on two sequences never mixes them up
        return None
    if both.apart is not None:
        unwatch(model)
    return both.apart
