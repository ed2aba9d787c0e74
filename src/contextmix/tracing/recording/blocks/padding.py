"""Leave out the tokens that a model adds at the end by itself, to fill its last window (Longformer, LED).

They are nobody's: nothing attends to them and they attend to nothing. That is looked at in every block, so a token
that takes part is never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from contextmix.maths.shapes import Bound
from contextmix.traces.trace import LayerTrace, Replay, ReplayZeroed


def tokens_given(inputs: Mapping[str, Any]) -> int | None:
    """How many tokens model inputs hold, where they are nothing but tokens; None if they hold something else too."""
    floats = [name for name, one in inputs.items() if isinstance(one, Tensor) and one.is_floating_point()]
    ids = inputs.get("input_ids", inputs.get("inputs_embeds"))
    own = {"inputs_embeds", "attention_mask", "global_attention_mask"}
    return ids.shape[1] if isinstance(ids, Tensor) and ids.ndim > 1 and own.issuperset(floats) else None


def without_padding(layer: LayerTrace, count: int | None) -> LayerTrace:
    """The same block without the tokens behind the first `count`, which the model added.

    Args:
        layer: A block of a batch; that of a model that adds none is handed back as it is.
        count: How many tokens the model was given; None where nobody can tell.

    """
    whole = layer.residual_in.shape[-2]
    if count is None or count >= whole:
        return layer
    weights = layer.attention
    if bool(weights[..., count:].ne(0).any()) or bool(weights[..., count:, :].ne(0).any()):
        return layer  # they are tokens like any other, such as those of a prefix
    kept, rest = slice(count), layer.residual_in[..., count:, :]
    states = {name: own[..., kept, :] for name in _STATES if (own := getattr(layer, name)) is not None}
    embedded = None if layer.embeddings is None else layer.embeddings[..., count:, :]
    through = layer.replay_from_embeddings
    return replace(
        layer,
        attention=weights[..., kept, kept],
        value=layer.value[..., kept, :],
        replay=None if layer.replay is None else Bound(_replayed, layer.replay, rest),
        replay_zeroed=None if layer.replay_zeroed is None else Bound(_zeroed, layer.replay_zeroed, count),
        embeddings=None if layer.embeddings is None else layer.embeddings[..., kept, :],
        replay_from_embeddings=None if through is None or embedded is None else Bound(_replayed, through, embedded),
        **states,
    )


_STATES = ("residual_in", "attention_out", "ffn_out", "residual_out", "attention_added", "ffn_added", "added", "gate")


def _replayed(replay: Replay, rest: Tensor, states: Tensor) -> Tensor:
    behind = rest.to(states).expand(*states.shape[:-2], *rest.shape[-2:])
    return replay(torch.cat([states, behind], dim=-2))[..., : states.shape[-2], :]


def _zeroed(replay: ReplayZeroed, count: int, token: int | None, heads: tuple[int, ...] | None) -> Tensor:
    return replay(token, heads)[..., :count, :]
