"""Hear attention outside of the registry: catch the one product with the values, in the module that makes it.

Which product it is was found on a probe (`discovery.mixers`) and is kept here, module by module. A run then costs what
the model's own attention costs: the product is made once, by the model, and its operands are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from contextmix.traces.mixing import Channels, Mixer, Mixing, Woven
from contextmix.tracing.recording.listeners import Listener, listening
from contextmix.tracing.recording.mixing.hearing import routing
from contextmix.tracing.recording.mixing.products import Reading, is_product, product_of
from contextmix.tracing.recording.mixing.whole_attention import INSIDES
from contextmix.tracing.recording.mixing.woven import weaving
from contextmix.tracing.recording.turns import after, before, undone
from contextmix.tracing.recording.walk import modules_of

_MIXERS: WeakKeyDictionary[nn.Module, Mixing] = WeakKeyDictionary()


def watch(module: nn.Module, mixer: Mixing) -> None:
    """From now on this is heard as the attention of a module."""
    _MIXERS[module] = mixer


def unwatch(model: nn.Module) -> None:
    """Nothing of a model is heard but what passes through the registry."""
    for module in modules_of(model):
        _MIXERS.pop(module, None)


def watched(model: nn.Module) -> dict[nn.Module, Mixing]:
    """The modules of a model that are heard, with what is heard."""
    if not _MIXERS:
        return {}
    return {module: mixer for module in modules_of(model) if (mixer := _MIXERS.get(module)) is not None}


@contextmanager
def watching(mixers: Mapping[nn.Module, Mixing], listener: Listener) -> Iterator[None]:
    """Tell a listener of these, in this thread."""
    products = {module: mixer for module, mixer in mixers.items() if isinstance(mixer, Mixer)}
    woven = {module: mixer for module, mixer in mixers.items() if isinstance(mixer, Woven)}
    channels = {module: mixer for module, mixer in mixers.items() if isinstance(mixer, Channels)}
    with routing(channels, listener), weaving(woven, listener), _catching(products, listener):
        yield


@contextmanager
def _catching(mixers: Mapping[nn.Module, Mixer], listener: Listener) -> Iterator[None]:
    if not mixers:
        yield
        return
    mode = _Catch(mixers, listener)
    with ExitStack() as stack:
        for module in mixers:
            stack.enter_context(undone(before(module, mode.enter).remove))
            stack.enter_context(undone(after(module, mode.leave).remove))
        stack.enter_context(mode)
        yield


class Counting(TorchFunctionMode):
    """Numbers the products that are made within the calls of some modules.

    Args:
        listener: Runs of others are none of its business.
    """

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.listener = listener
        self.open: list[tuple[nn.Module, list[int]]] = []

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pre-hook."""
        if listening(self.listener):
            self.open.append((module, [0]))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A forward hook."""
        if listening(self.listener):
            self.open.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in INSIDES and self.open and listening(self.listener):
            with self:
                return INSIDES[func](*args, **kwargs)
        if not self.open or not is_product(func) or not listening(self.listener):
            return func(*args, **kwargs)
        numbers = [(module, count[0]) for module, count in self.open]
        for _, count in self.open:
            count[0] += 1
        return self.made(numbers, func, args, kwargs)

    def made(
        self,
        numbers: Sequence[tuple[nn.Module, int]],
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """A call that may be a product, with the modules around it (outermost first) and its number in each."""
        raise NotImplementedError


class _Catch(Counting):
    """Shows the products that are mixers to a listener, which may change the values before they are multiplied."""

    def __init__(self, mixers: Mapping[nn.Module, Mixer], listener: Listener) -> None:
        super().__init__(listener)
        self.mixers = mixers

    def made(
        self,
        numbers: Sequence[tuple[nn.Module, int]],
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """See `Counting`."""
        module = next((module for module, number in reversed(numbers) if self.mixers[module].number == number), None)
        product = None if module is None else product_of(func, args, kwargs)
        if module is None or product is None:
            return func(*args, **kwargs)
        return self._caught(module, Reading(product, self.mixers[module]))

    def _caught(self, module: nn.Module, reading: Reading) -> Tensor:
        listener: Any = self.listener
        values = reading.values()
        if hasattr(listener, "edited"):  # a ValueEditor
            values = listener.edited(module, self.mixers[module].n_heads, values)
            wrote = reading.with_values(values)
        else:
            wrote = reading.product.again(None, None)
        weights = reading.weights()
        rows: slice | None = getattr(listener, "rows", None)  # a RowListener
        shown = weights if rows is None else weights[:, :, rows]
        listener.heard(module, shown, values, reading.output(wrote), None)
        return wrote
