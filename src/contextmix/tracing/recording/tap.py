"""Listen to attention through transformers' own registry; the only file that names it.

One attention function is registered. It calls the model's *own* eager attention, unchanged, and tells the active
recorder what passed. The mask function is registered under the same name: without that, transformers drops causality
and padding without a word. Nothing is patched, and `tapped` restores every setting afterwards.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from contextmix.errors import UnsupportedModel
from contextmix.traces.trace import Scores
from contextmix.tracing.recording.quiet import configurations

NAME = "contextmix"


class Listener(Protocol):
    """Whoever wants to know what passes through attention."""

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores) -> None:
        """One attention call: weights (batch, head, query, key), value before grouped keys are repeated, output.

        The scores hold query and key as attention reads them (rotated, where positions enter so), keys before grouped
        ones are repeated.
        """


class ValueEditor(Listener, Protocol):
    """A listener that changes the values before attention reads them."""

    def edited(self, module: nn.Module, query: Tensor, value: Tensor) -> Tensor:
        """Other values (batch, key-value head, key, d_head)."""


# The tap is a setting of the model, so threads take turns; a thread that has its turn may tap again (a replay does).
_TURNS: WeakKeyDictionary[PreTrainedModel, threading.RLock] = WeakKeyDictionary()
_TURNS_LOCK = threading.Lock()

_listener: ContextVar[Listener | None] = ContextVar("contextmix_listener", default=None)


def tap(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Attend exactly as the model would, and tell the listener."""
    listener = _listener.get()
    if listener is not None and hasattr(listener, "edited"):  # a ValueEditor
        value = listener.edited(module, query, value)
    output, attention = own_eager(module)(module, query, key, value, attention_mask, **kwargs)
    if listener is not None:
        scaling = kwargs.get("scaling")
        scores = Scores(query, key, query.shape[-1] ** -0.5 if scaling is None else float(scaling))
        listener.heard(module, attention, value, output, scores)
    return output, attention


def listening(listener: Listener) -> bool:
    """Whether a listener is the active one here: hooks are global, and another thread's run is none of its business."""
    return _listener.get() is listener


def own_eager(module: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
    """The eager attention function of the file that defines this attention class (or a class that it inherits from)."""
    for cls in type(module).__mro__:
        function = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if function is not None:
            return function  # type: ignore[no-any-return]
    raise UnsupportedModel(
        f"{type(module).__name__} has no eager attention of its own beside it, so contextmix cannot compute its "
        "attention exactly as the model does. No number was produced."
    )


AttentionInterface.register(NAME, tap)
AttentionMaskInterface.register(NAME, eager_mask)


@contextmanager
def tapped(model: PreTrainedModel, listener: Listener) -> Iterator[None]:
    """Route the model's attention through the tap, with ``listener`` told of every call; restore everything afterwards.

    Raises:
        UnsupportedModel: If the model computes attention outside the registry and cannot be switched.
    """
    with turn_of(model):
        configs = configurations(model)
        before = [config._attn_implementation for config in configs]
        token = _listener.set(listener)
        try:
            if not model._can_set_attn_implementation():  # transformers would only log a warning and go on
                raise UnsupportedModel(
                    f"{model.config.model_type!r} ({type(model).__name__}) computes attention itself, outside the "
                    "attention registry of transformers, so what its heads mix cannot be recorded. No number was "
                    "produced. Use a model of another architecture, or a newer transformers if it has moved this one "
                    "to the registry."
                )
            model.set_attn_implementation(NAME)
            yield
        finally:
            _listener.reset(token)
            for config, implementation in zip(configs, before, strict=True):
                config._attn_implementation_internal = implementation


def turn_of(model: PreTrainedModel) -> threading.RLock:
    """The one lock of a model: whoever taps it, or runs it while others may, holds it."""
    with _TURNS_LOCK:
        return _TURNS.setdefault(model, threading.RLock())
