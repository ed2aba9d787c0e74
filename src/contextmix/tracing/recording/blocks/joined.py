"""Attention and a mixer that is no attention, side by side in one block: one trace of both.

    contribution  =  s · attention( … ) W + s' · mixer( … ) W'

The mixer has a map for every channel. So the heads of attention are written as channels too, each with the map of its
head, and stand in front of those of the mixer; the factors go into the output projections. From then on the block is
one with a single mixer, and every check and method takes it as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from contextmix.errors import TapSilent
from contextmix.maths.precision import at_least_float32
from contextmix.traces.mixing import Beside
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.recording.mixing.memory import room_for
from contextmix.tracing.recording.recorder import Attended
from contextmix.tracing.recording.resolve import affine


def joined(root: nn.Module, beside: Beside, layer: LayerTrace, heard: Sequence[Attended], said: Tensor) -> LayerTrace:
    """The trace of a block with both of its mixers.

    Args:
        root: The block.
        beside: What stands beside its attention.
        layer: The block with its attention alone, of a batch.
        heard: What was recorded in the block.
        said: (batch, query, d_model): what the output projection of the other mixer wrote.

    Raises:
        TapSilent: If the other mixer was not heard.
        BadInput: If the maps do not fit into memory.
    """
    other = next((one for one in heard if one.constant is not None), None)
    if other is None or other.constant is None:
        raise TapSilent(
            f"Block {layer.index} ran without {beside.mixer.path}, which mixes tokens beside its attention, so half of "
            "what it mixes was not recorded. No number was produced."
        )
    attention, value, kernel, values = map(_full, (layer.attention, layer.value, other.attention, other.value))
    width, norms = value.shape[-1], layer.block.attention
    channels = attention.shape[1] * width + kernel.shape[1]
    size = len(attention) * channels * attention.shape[-2] * attention.shape[-1] * attention.element_size()
    room_for(size, attention.shape[-1], type(root).__name__)
    weight, bias = affine(root, beside.output, beside.transposed)
    constant = _full(other.constant) @ weight + (0 if bias is None else bias)
    own = layer.block.output_bias
    block = replace(
        layer.block,
        output_weight=torch.cat(
            [layer.block.output_weight.flatten(0, 1) * norms.scale, weight * beside.scale]
        ).unsqueeze(1),
        output_bias=constant * beside.scale + (0 if own is None else own * norms.scale),
        attention=replace(norms, scale=1.0),
        projections=None,
        value=None,
    )
    return replace(
        layer,
        attention=torch.cat([attention.repeat_interleave(width, dim=1), kernel], 1),
        value=torch.cat([value.transpose(2, 3).flatten(1, 2).unsqueeze(-1), values], 1),
        attention_out=layer.attention_out * norms.scale + _full(said) * beside.scale,
        block=block,
        scores=None,
        channelwise=True,
    )


def _full(tensor: Tensor) -> Tensor:
    return at_least_float32(tensor.detach())
