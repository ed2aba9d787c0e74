"""Listen to attention through transformers' own registry; the only file that names it.

Where a model computes attention outside of it, what `watch` knows of the model is heard instead.

One attention function is registered for each attention that a model may have set. In the thread that listens it calls
the model's *own* eager attention, or the user's function if that is what the model has set, and tells the active
recorder what passed. In every other thread it is what the model had set. The mask function is registered under the same
name: without that, transformers drops causality and padding without a word. Nothing is patched, and `tapped` restores
every setting afterwards.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from contextmix.errors import UnsupportedModel
from contextmix.traces.trace import Scores
from contextmix.tracing.recording.listeners import Listener, current, heard_by
from contextmix.tracing.recording.mixing.watch import watched, watching
from contextmix.tracing.recording.quiet import configurations
from contextmix.tracing.recording.row_attention import FUSED, Attending
from contextmix.tracing.recording.turns import turn_of, undone
from contextmix.tracing.recording.verify import close, tolerance
from contextmix.tracing.recording.walk import modules_of

NAME = "contextmix"
EAGER = "eager"
_EAGER_FUNCTION = "eager_attention_forward"


class _Setting(str):
    """A name under which attention is heard, which is equal to that of eager attention, too.

    Eager attention is what runs then, and some models do more where they are told so: a sparse indexer hides from it by
    a mask what it tells a kernel otherwise. Names are still told apart as keys of the registry, by their hash.
    """

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True or (type(other) is str and str.__eq__(other, EAGER))

    def __ne__(self, other: object) -> bool:
        return not self == other


_NAMES: dict[str, str] = {}
_NAMING = threading.Lock()


# Attention -----------------------------------------------------------------------------------------------------------


def tap(
    own: str, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Attend exactly as the model would with the attention that it has set, and tell the listener if there is one."""
    listener = current()
    if listener is None:
        plain: tuple[Tensor, Tensor | None] = _as_set(own, module)(module, query, key, value, attention_mask, **kwargs)
        return plain
    if hasattr(listener, "alone") and (own_values := listener.alone(query, value)) is not None:  # a LonelyListener
        return own_values, None
    if hasattr(listener, "edited"):  # a ValueEditor
        value = listener.edited(module, query.shape[1], value)
    if hasattr(listener, "attending"):  # a TileListener
        call = Attending(own_eager(module), module, query, key, value, attention_mask, kwargs)
        fused = own == FUSED
        output = _as_set(own, module)(module, query, key, value, attention_mask, **kwargs)[0] if fused else call.whole()
        listener.attending(call, output)
        return output, None
    rows: slice | None = getattr(listener, "rows", None)  # a RowListener
    fused = rows is not None and own == FUSED
    attend = _as_set(own, module) if fused or is_users(own) else own_eager(module)
    output, attention = attend(module, query, key, value, attention_mask, **kwargs)
    if is_users(own):
        _refuse_other_weights(own, output, attention, value)
    if rows is not None and fused:
        call = Attending(own_eager(module), module, query, key, value, attention_mask, kwargs)
        attention = call.attended(rows)[1]
    elif rows is not None:
        attention = attention[:, :, rows]
    scaling = kwargs.get("scaling")
    scores = Scores(query, key, query.shape[-1] ** -0.5 if scaling is None else float(scaling))
    listener.heard(module, attention, value, output, scores)
    return output, attention


def own_eager(module: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
    """The eager attention function of the file that defines this attention class (or a class that it inherits from)."""
    found = _beside(module, _eager_of(type(module)))  # type: ignore[arg-type]
    if found is None:
        raise UnsupportedModel(
            f"{type(module).__name__} has no eager attention of its own beside it, so contextmix cannot compute its "
            "attention exactly as the model does. No number was produced."
        )
    return found  # type: ignore[no-any-return]


@cache
def _eager_of(kind: type[nn.Module]) -> str:
    """What a class calls its eager attention: some files hold one for text and one for images."""
    for cls in kind.__mro__:
        forward: Any = vars(cls).get("forward")
        code = None if forward is None else getattr(inspect.unwrap(forward), "__code__", None)
        named: list[str] = [name for name in getattr(code, "co_names", ()) if name.endswith(_EAGER_FUNCTION)]
        if len(named) == 1:
            return named[0]
    return _EAGER_FUNCTION


def _as_set(own: str, module: nn.Module) -> Callable[..., Any]:
    """The attention that a model has set, as its own file would find it."""
    if own == EAGER:
        return own_eager(module)
    known: Any = _beside(module, "ALL_ATTENTION_FUNCTIONS") or ALL_ATTENTION_FUNCTIONS
    found: Callable[..., Any] = known.get_interface(own, None)
    return found


def _beside(module: nn.Module, name: str) -> Any:
    """What has this name in the file that defines a class, or one that it inherits from; None if nothing has."""
    files = (sys.modules.get(cls.__module__) for cls in type(module).__mro__)
    return next((found for file in files if (found := getattr(file, name, None)) is not None), None)


def is_users(own: str) -> bool:
    """Whether the user registered this attention. Those of transformers are the model's eager one up to rounding."""
    function = ALL_ATTENTION_FUNCTIONS.get(own)
    while isinstance(function, partial):
        function = function.func
    of_a_library = "/" in own or own.startswith("paged|")  # a kernel of the hub; many requests in one row
    return function is not None and not of_a_library and not _module(function).startswith("transformers.")


def _module(function: Any) -> str:
    return getattr(function, "__module__", None) or ""


def _refuse_other_weights(own: str, output: Any, attention: Any, value: Tensor) -> None:
    """A function whose weights, times the values, are not what it gives: then the weights are not what it mixes."""
    rule = "attention weights (batch, head, query, key) beside its output (batch, query, head, d_head)"
    way = "No number was produced. Let it return them, or choose model.set_attn_implementation('eager')."
    if not isinstance(attention, Tensor) or attention.ndim != 4:
        raise UnsupportedModel(
            f"The model attends with {own!r}, a function that you registered, and it returns no {rule}, so what it "
            f"mixes cannot be recorded. {way}"
        )
    groups = max(1, attention.shape[1] // value.shape[1])
    mixed = (attention.to(value.dtype) @ value.repeat_interleave(groups, dim=1)).transpose(1, 2)
    if not close(mixed, output.reshape(mixed.shape), 10 * tolerance(value.dtype)):
        raise UnsupportedModel(
            f"The model attends with {own!r}, a function that you registered, and its weights times the values are not "
            f"what it gives: it changes something on the way. An explanation by those weights would be of another "
            f"model. {way}"
        )


# Masks ---------------------------------------------------------------------------------------------------------------


def _mask(own: str, *args: Any, **kwargs: Any) -> Any:
    """The mask for the attention that is called: eager where contextmix listens, else the one that belongs to it."""
    listener = current()
    tiles = hasattr(listener, "attending") and own in (EAGER, FUSED)
    own = FUSED if tiles else own  # whose masks are smaller, or none at all
    as_set = listener is None or is_users(own) or tiles or (own == FUSED and hasattr(listener, "rows"))
    if own == EAGER or not as_set:
        return eager_mask(*args, **kwargs)
    known: Any = ALL_MASK_ATTENTION_FUNCTIONS
    return known[own](*args, **kwargs) if own in known else None  # as transformers does: an unknown name has no mask


# Names ---------------------------------------------------------------------------------------------------------------


def name_over(own: str | None) -> str:
    """The setting under which attention is heard, for a model that has this one set; registered when first needed."""
    own = own or EAGER
    if own in _NAMES.values():
        return own
    with _NAMING:
        if own not in _NAMES:
            name = f"{NAME}-{len(_NAMES)}" if _NAMES else NAME  # not the name itself: transformers reads some of them
            AttentionInterface.register(name, partial(tap, own))
            AttentionMaskInterface.register(name, partial(_mask, own))
            _NAMES[own] = name
    return _NAMES[own]


def own_name(setting: str | None) -> str | None:
    """What a model has set, where its setting may be one under which attention is heard now."""
    return next((own for own, name in _NAMES.items() if name == setting), setting)


name_over(EAGER)


def can_be_switched(model: PreTrainedModel) -> bool:
    """Whether a model sends its attention through the registry, as far as its code says."""
    return bool(model._can_set_attn_implementation())


@contextmanager
def tapped(model: PreTrainedModel, listener: Listener) -> Iterator[None]:
    """Route the model's attention through the tap, with ``listener`` told of every call; restore everything afterwards.

    Raises:
        UnsupportedModel: If the model computes attention outside the registry and cannot be switched.
    """
    with turn_of(model):
        mixers = watched(model)
        if not mixers and not can_be_switched(model):
            raise UnsupportedModel(
                f"{model.config.model_type!r} ({type(model).__name__}) computes attention itself, outside the "
                "attention registry of transformers, and no product of attention weights and values was found in it, "
                "so what its heads mix cannot be recorded. No number was produced. Use a model of another "
                "architecture, or a newer transformers if it has moved this one to the registry."
            )
        with heard_by(listener), _switched(model), watching(mixers, listener):
            yield


@contextmanager
def _switched(model: PreTrainedModel) -> Iterator[None]:
    """Every configuration says the name over what it said before, but those of parts that would not understand it."""
    parts = [part for part in modules_of(model) if isinstance(part, PreTrainedModel)]
    deaf = {id(part.config) for part in parts if not part._can_set_attn_implementation()}
    deaf -= {id(part.config) for part in parts if part._can_set_attn_implementation()}
    before = [(one, one._attn_implementation) for one in configurations(model) if id(one) not in deaf]

    def restore() -> None:
        for config, own in before:
            config._attn_implementation_internal = own

    with undone(restore):
        for config, own in before:
            config._attn_implementation_internal = _Setting(name_over(own))
        yield
