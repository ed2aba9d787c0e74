"""Run a model without leaving a trace on it: evaluation mode, no gradients, no cache; everything restored."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, lru_cache, partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.turns import before, undone
from contextmix.tracing.recording.uncompiled import uncompiled
from contextmix.tracing.recording.walk import modules_of


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode (dropout would make each run another model); each one's own mode comes back.

    Compiled modules run as they were written. A model that is in evaluation mode already is not touched.
    """
    training = [module for module in modules_of(model) if module.training]

    def train_again() -> None:
        for module in training:
            module.training = True

    with undone(train_again), uncompiled(model):
        if training:
            model.eval()
        yield


@cache
def keep_freed_memory() -> None:
    """Once per process: let glibc keep up to 64 MiB that layer after layer frees and asks for again.

    Its rule is to give memory above twice the largest block freed so far back to the system; what comes back is zeroed
    page by page, which costs a tenth of a traced run (measured 2026-11, BERT-base, 4 × 128 tokens). Freeing one block
    just under its limit of 32 MiB raises that mark. The block is never written to, so it costs nothing itself, and with
    other allocators it does nothing.
    """
    torch.empty((32 << 20) - (64 << 10), dtype=torch.uint8)


def quiet_run(model: PreTrainedModel, inputs: Mapping[str, Tensor], *, last_logits: int = 0, past: Any = None) -> Any:
    """The model's outputs in evaluation mode, without gradients, and without a key-value cache unless one is given.

    Args:
        model: The model.
        inputs: Model inputs with a batch axis.
        last_logits: Only the logits of so many last tokens are wanted; 0 for all. A language model that can leave the
            others out does so: n rows of a vocabulary would be the largest tensor of the run.
        past: A key-value cache of the tokens before these, which the model adds to.
    """
    options = run_options(model, last_logits)
    if past is not None:
        options |= {str(cache_name(model)): past, "use_cache": True}
    with evaluating(model), plain_outputs(model), torch.no_grad():
        return model(**as_called(inputs), **options)


BESIDE = "of images: "
"""Begins the name of an input of a prompt that belongs to its images and not to its tokens; see `as_called`."""


def has_images(inputs: Mapping[str, Any]) -> bool:
    """Whether model inputs are a prompt with images."""
    return any(name.startswith(BESIDE) for name in inputs)


def plain_names(inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of model inputs as the model calls them."""
    return tuple(name.removeprefix(BESIDE) for name in inputs)


def as_called(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Model inputs as a model is called with them.

    Here everything is a tensor with the batch first. Models read positions of several axes as (axis, batch, token), a
    switch as True or False, and the images of all prompts of a batch in one row.
    """
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if name.startswith(BESIDE):
            found[name.removeprefix(BESIDE)] = value.flatten(0, 1).contiguous()
            continue
        switch = isinstance(value, Tensor) and value.dtype is torch.bool and value.ndim < 2
        axes = isinstance(value, Tensor) and name == "position_ids" and value.ndim == 3
        found[name] = bool(value.all()) if switch else value.movedim(1, 0) if axes else value
    return found


def on_device(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Model inputs where the model is."""
    own = {name: value.to(device_of(model)) for name, value in tensors.items()}
    return {name: value.clone() if value.is_inference() else value for name, value in own.items()}  # for gradients


def run_options(model: PreTrainedModel, last_logits: int) -> dict[str, Any]:
    """What a forward call is told beside its inputs, as far as the model takes it."""
    accepted, own = _accepted(model), parameters_of(model.forward).values()
    wanted = {"use_cache": False, **({"logits_to_keep": last_logits} if last_logits else {})}
    # A decorator of transformers takes return_dict for many a forward that does not name it.
    more = any(one.kind is one.VAR_KEYWORD for one in own) or hasattr(model.forward, "__wrapped__")
    named = {"return_dict": True} if more or "return_dict" in accepted else {}
    return {name: value for name, value in wanted.items() if name in accepted} | named


def cache_name(model: PreTrainedModel) -> str | None:
    """What a model calls its key-value cache (versions of transformers differ); None if it takes none."""
    return next((name for name in ("cache", "past_key_values") if name in _accepted(model)), None)


@contextmanager
def plain_outputs(model: PreTrainedModel) -> Iterator[None]:
    """Inner models keep no key-value cache, to which a replay would add, and give named outputs, as the model expects.

    They ask their own configuration where nobody tells them. So they are told, in this thread: the configuration is
    also that of whoever else runs the model.
    """
    with ExitStack() as stack:
        for module in modules_of(model):
            if isinstance(module, PreTrainedModel) and module is not model:
                told = _told(module)
                if told:
                    stack.enter_context(undone(before(module, partial(_tell, told)).remove))
        yield


def _told(module: PreTrainedModel) -> dict[str, Any]:
    """What an inner model is told because its configuration says otherwise."""
    accepted = _accepted(module)
    told: dict[str, Any] = {}
    if "use_cache" in accepted and getattr(module.config, "use_cache", None) is True:
        told["use_cache"] = False
    if getattr(module.config, "return_dict", None) is False:
        told["return_dict"] = True
    return told


def _accepted(model: PreTrainedModel) -> set[str]:
    """What a forward call can be told by name, also where someone's own ``forward`` hands everything on."""
    own = parameters_of(model.forward)
    hands_on = any(one.kind is one.VAR_KEYWORD for one in own.values())
    return {*own, *(parameters_of(type(model).forward) if hands_on else ())}


def parameters_of(function: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function, or of a bound one: looked up once, as every run asks."""
    bound = getattr(function, "__func__", None)
    if bound is None:
        return _looked_up(function)
    first, *_ = _looked_up(bound) or ("",)
    return {name: one for name, one in _looked_up(bound).items() if name != first}


@lru_cache(maxsize=256)
def _looked_up(function: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _tell(told: Mapping[str, Any], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A forward pre-hook; what the model says to its part itself stands."""
    return args, {**told, **{name: value for name, value in kwargs.items() if value is not None or name not in told}}


def configurations(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """Every distinct configuration inside a model, sub-configurations included."""
    found: dict[int, PreTrainedConfig] = {}
    waiting = [own for one in modules_of(model) if isinstance(own := _config(one), PreTrainedConfig)]
    while waiting:
        config = waiting.pop()
        if id(config) not in found:
            found[id(config)] = config
            waiting += [sub for key in config.sub_configs if (sub := getattr(config, key, None)) is not None]
    return list(found.values())


def _config(module: nn.Module) -> Any:
    """What a module calls its configuration; a look for what is not there would cost ten times as much."""
    own = module.__dict__.get("config")
    return getattr(module, "config", None) if own is None and hasattr(type(module), "config") else own


def first_states(*places: Any) -> Tensor | None:
    """The first floating-point tensor with at least two axes in a module's arguments or outputs: its hidden states."""
    for place in places:
        if isinstance(place, Tensor):
            if place.is_floating_point() and place.ndim >= 2:
                return place
            continue
        inner = place.values() if isinstance(place, Mapping) else place if isinstance(place, tuple | list) else ()
        found = first_states(*inner)
        if found is not None:
            return found
    return None


def turned(states: Tensor) -> Tensor:
    """States (token, batch, d_model), or (token, d_model) of one sequence, as (batch, token, d_model).

    The first go back the same way; see `turned_back` for both.
    """
    return states.transpose(0, 1) if states.ndim == 3 else states.unsqueeze(0) if states.ndim == 2 else states


def turned_back(states: Tensor, axes: int) -> Tensor:
    """States (batch, token, d_model) as a model reads them that does not have the batch in front: with so many axes."""
    return states.squeeze(0) if axes == 2 else states.transpose(0, 1)


def over(states: Tensor, tokens: Sequence[int]) -> Tensor:
    """States over the axes (batch, token): experts and routers read and write the tokens of a batch in one row."""
    flat = states.ndim == 2 and len(tokens) == 2 and states.shape[0] == prod(tokens)
    return states.view(*tokens, -1) if flat else states
