"""The kinds of layers that a model has: those that its config names, and those that its code knows beside them."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from transformers import PreTrainedConfig
from transformers.configuration_utils import ALLOWED_ATTN_LAYER_TYPES

KINDS = ("layer_types", "layers_block_type", "block_types")
"""What configs call the list of the kinds of their layers."""


def distinct(values: list[Any]) -> list[Any]:
    """The distinct ones, in order."""
    return [value for place, value in enumerate(values) if value not in values[:place]]


def all_kinds(config: PreTrainedConfig, named: list[Any]) -> list[Any]:
    """The kinds that a config names, and then the others that the code of its model asks for.

    A default config often names one kind, where checkpoints have two: LFM2's has no convolution.
    """
    return [*named, *(kind for kind in _in_code(type(config).__module__) if kind not in named)]


@cache
def _in_code(module: str) -> tuple[str, ...]:
    try:
        code = inspect.getsource(importlib.import_module(module.replace("configuration_", "modeling_")))
    except ImportError:
        return ()
    return tuple(kind for kind in ALLOWED_ATTN_LAYER_TYPES if re.search(f"[\"']{kind}[\"']", code))


def kinds_of(config: PreTrainedConfig) -> tuple[str, ...]:
    """The kinds of layers of a config and of the configs inside it, in order."""
    return tuple(distinct(list(named_kinds(config))))


def named_kinds(config: PreTrainedConfig) -> Iterator[str]:
    """The kind of each layer of a config and of the configs inside it."""
    for name in KINDS:
        yield from (kind for kind in getattr(config, name, None) or () if isinstance(kind, str))
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from named_kinds(value)
