"""All checks on a prompt with an image, for a tiny model of any type that reads text and images."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from scripts.sweep.build import short, vivid
from scripts.sweep.causality import Wrong
from scripts.sweep.pictures import GRID, TOWERS, NoPicture, number_in, picture_probe, side_in, sight_of
from scripts.sweep.shrink import tiny_config
from torch import Tensor
from transformers import PreTrainedModel

import contextmix as cm
from contextmix.errors import ContextMixError
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.inputs.beside import reads_both
from contextmix.tracing.recording.quiet import first_states, quiet_run
from contextmix.tracing.recording.record import layers_of
from contextmix.tracing.recording.stack import image_id

TEXT_ALONE = "text alone"
"""The part that is proved where prompts with images are refused."""
Finding = TypeVar("Finding", bound="Found")


class Found(Protocol):
    """What the sweep says of a type; see `scripts.sweep.examine`."""

    part: str
    inputs: tuple[str, ...]
    causal: bool | None
    conservation: float | None
    block_equation: float | None
    parity: float | None


def with_images(found: Finding, model: PreTrainedModel) -> Finding:
    """The finding on a whole model, after a prompt with an image too, if it reads such a thing and one can be made.

    Where contextmix refuses that prompt, the type is verified in part: for text alone, with the reason.

    Args:
        found: On text alone, or on images alone.
        model: The model.

    Raises:
        Wrong: If it is not refused, and should be.
    """
    if found.part or not reads_both(model):
        return found
    try:
        report, given, causal = pictured(model)
    except NoPicture:
        return found
    except ContextMixError as reason:
        return replace(found, part=TEXT_ALONE, reason=short(reason))  # type: ignore[type-var]
    errors = {
        "conservation": max(found.conservation or 0, report.checks.conservation),
        "block_equation": max(found.block_equation or 0, report.checks.block_equation),
        "parity": max(found.parity or 0, report.parity),
    }
    inputs = tuple(dict.fromkeys((*found.inputs, *given)))
    return replace(found, inputs=inputs, causal=bool(found.causal and causal), **errors)  # type: ignore[type-var]


def pictured(model: PreTrainedModel) -> tuple[cm.CheckReport, dict[str, Tensor], bool]:
    """All checks on a prompt with an image.

    Args:
        model: A tiny one, proved on text alone; another with a tower that fits a small image is built beside it.

    Returns:
        The report, what was given, and whether no position draws on a later one.

    Raises:
        NoPicture: If no prompt with an image is found on which the model itself runs.
        ContextMixError: If contextmix refuses it.
        Wrong: If it does not, and should.
    """
    model = sighted(model)
    traced, given = cm.load(model), picture_probe(model)
    (inputs,) = traced.encode(given)
    tensors = {name: value.unsqueeze(0) for name, value in inputs.tensors.items()}
    _refuse_other_numbers(model, given, tensors)
    report = traced.check(given)
    layers = layers_of(model, traced.anatomy(), tensors)
    images = (given["input_ids"][0] == image_id(model)).nonzero().flatten().tolist()
    reached = any(_reached(layers[-1], place) for place in (len(given["input_ids"][0]) - 1, images[-1]))
    above = max(float(layer.attention.triu(1).abs().max()) for layer in layers)
    if reached == (above == 0):
        raise Wrong(
            f"with an image, a change of a position {'reaches' if reached else 'does not reach'} earlier ones, and "
            f"the attention above the diagonal is at most {above:.1e}"
        )
    return report, given, not reached


def sighted(model: PreTrainedModel) -> PreTrainedModel:
    """The same with a tower of `GRID` patches whose sizes fit each other, and with features of an early layer of it.

    Raises:
        NoPicture: If it cannot be built.
    """
    try:
        return vivid(type(model)(_sighted(copy.deepcopy(model.config))))
    except Exception as failure:  # a config may refuse any combination in any way
        raise NoPicture(f"no small model with a tower could be built: {type(failure).__name__}: {failure}") from failure


def _sighted(config: Any) -> Any:
    """A config, changed."""
    for name in TOWERS:  # some types have none by default
        kind = getattr(config, "sub_configs", {}).get(name)
        if kind is not None and hasattr(config, name) and getattr(config, name) is None:
            setattr(config, name, tiny_config(kind.model_type))
    _fit_tower(config, sight_of(config))
    text = config.get_text_config()
    heads, shared = number_in(text, "num_attention_heads"), number_in(text, "num_key_value_heads")
    if heads and shared and heads % shared:
        text.num_key_value_heads = heads
    return config


def _fit_tower(config: Any, sight: Any) -> None:
    """Sizes that follow from others, which a config does not work out again."""
    widths = (number_in(sight, name) for name in ("hidden_size", "embed_dim", "mm_embed_dim"))
    patch, width = side_in(sight, "patch_size") or 16, next(filter(None, widths), None)
    side = GRID[0] * patch
    _put(sight, image_size=side, deepstack_visual_indexes=[0], fullatt_block_indexes=[1])
    if ratio := getattr(sight, "pixel_shuffle_ratio", None):  # whose projection must read what is shuffled together
        _put(sight, intermediate_size=int((width or 0) / ratio**2))
        _put(sight, projector_input_dim=width, projector_output_dim=width, vision_output_dim=width)
    if getattr(sight, "intermediate_layers_indices", None):  # whose states stand beside the last ones
        _put(sight, intermediate_layers_indices=[0], vision_output_dim=2 * (width or 0))
    if layers := getattr(config, "vision_feature_layers", None):
        _put(config, vision_feature_layers=[-1] * len(layers))
    _put(sight, output_proj_dims=width)
    _put(config, mm_tokens_per_image=GRID[0], projector_patch_to_query_dict={GRID[0] * GRID[1]: GRID[0]})
    if hasattr(config, "image_grid_pinpoints"):
        config.image_grid_pinpoints = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side]]


def _put(config: Any, **fields: Any) -> None:
    """Those of the fields that a config has, a pair where it holds a pair."""
    for name, value in fields.items():
        own = getattr(config, name, None)
        if own is not None and value is not None:
            pair = isinstance(own, list | tuple) and isinstance(value, int)
            setattr(config, name, (value, value) if pair else value)


def _refuse_other_numbers(model: PreTrainedModel, given: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """What is explained must be what a plain call says, and the image must reach it."""
    plain = first_states(quiet_run(model, given))
    read = first_states(quiet_run(model, tensors))
    other = {**given, "pixel_values": given["pixel_values"] + 1}
    assert plain is not None
    assert read is not None
    if not torch.equal(plain, read):
        raise Wrong("with an image, what is explained is another input than what was given")
    moved = first_states(quiet_run(model, other))
    assert moved is not None
    if torch.allclose(plain, moved, rtol=1e-4):
        raise NoPicture("what it says does not depend on the image")


def _reached(last: LayerTrace, place: int) -> bool:
    """Whether a change of what is given of a position reaches an earlier one."""
    assert last.replay_from_embeddings is not None
    assert last.embeddings is not None
    changed = last.embeddings.clone()
    changed[place] += torch.linspace(-1, 1, changed.shape[-1]) * changed.std()
    clean = last.replay_from_embeddings(last.embeddings)
    return bool((last.replay_from_embeddings(changed) - clean).abs()[:place].max() > 1e-6 * clean.abs().max())
