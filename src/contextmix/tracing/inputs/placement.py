"""Which parts of a model go where when it is loaded, and which of that can be read afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from transformers import PreTrainedModel

from contextmix.errors import BadOption, UnsupportedModel, did_you_mean, near_misses
from contextmix.tracing.recording.offload import execution_device, lost

PASSED = (
    "device_map",
    "max_memory",
    "offload_folder",
    "offload_buffers",
    "quantization_config",
    "attn_implementation",
    "variant",
    "use_safetensors",
)
"""What `contextmix.load` hands to ``from_pretrained`` as it is."""


def refuse_placement(where: Mapping[str, Any], device: str | torch.device | None) -> None:
    """What ``from_pretrained`` cannot be told, before anything is loaded.

    Raises:
        TypeError: If there is no such argument.
        BadOption: If the model is to be in two places, or accelerate is missing.
    """
    for name in where:
        if name not in PASSED:
            hint = did_you_mean(near_misses(name, PASSED, 1))
            raise TypeError(f"load() got an unexpected keyword argument {name!r}{'.' * bool(hint)}{hint}")
    if "device_map" not in where:
        return
    if device is not None:
        raise BadOption(
            f"device={str(device)!r} puts the whole model in one place, and device_map says where each part goes. Give "
            "one of them."
        )
    if find_spec("accelerate") is None:
        raise BadOption(
            "A device_map needs accelerate, which moves weights to where they are used: "
            'pip install "contextmix[large]".'
        )


def refuse_loaded(model: Any, asked: Iterable[str]) -> None:
    """A model that is in memory already, with words on how it should be loaded.

    Raises:
        BadOption: With these words.
    """
    names = sorted(asked)
    if names:
        raise BadOption(
            f"{', '.join(names)}: only applies to a model given by name or folder, but this {type(model).__name__} "
            f"is already loaded. Pass it to from_pretrained instead."
        )


def refuse_spread_adapter(place: str, where: Mapping[str, Any]) -> None:
    """An adapter's base model is loaded as a whole.

    Raises:
        BadOption: If it should not be.
    """
    if where:
        raise BadOption(
            f"The folder {place} holds an adapter, and {', '.join(sorted(where))} cannot be used with its base model. "
            "Load that model yourself, put the adapter into it with peft, and pass what peft gives."
        )


def refuse_asked(name: str, where: Mapping[str, Any], reason: Exception) -> None:
    """A model that cannot be loaded as it was asked for; what is wrong with its files is said elsewhere.

    Raises:
        BadOption: With what transformers says.
    """
    damaged = isinstance(reason, OSError | EOFError) or type(reason).__name__ in ("SafetensorError", "UnpicklingError")
    if where and not damaged:
        raise BadOption(
            f"{name} cannot be loaded with {', '.join(f'{one}={value!r:.80}' for one, value in where.items())}: "
            f"{str(reason).strip() or type(reason).__name__}"
        ) from reason


def refuse_scattered(model: PreTrainedModel) -> None:
    """A model that computes on several devices, or has weights that nobody can fetch.

    Raises:
        UnsupportedModel: With the places, or a weight.
    """
    owners = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    places = sorted({str(execution_device(module)) for module in owners})
    if len(places) > 1:
        raise UnsupportedModel(
            f"The model computes on several devices ({', '.join(places)}), and the maps of its layers are put "
            "together on one. Load it with a device_map of one device, with cpu or disk for what does not fit; in "
            "bfloat16 or 8 bits it needs half or a quarter of the memory."
        )
    for path in lost(model):
        raise UnsupportedModel(
            f"The weight {path} is on the meta device, and nothing says where its numbers are, so the model cannot "
            "run. Load it into memory first; with a device_map, put weights that are one and the same, as those of "
            "embeddings and head often are, in one place."
        )
