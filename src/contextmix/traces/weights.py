"""Attention weights as such: shares of a row, which not every mixer has."""

from __future__ import annotations

from torch import Tensor

from contextmix.errors import UnsupportedModel
from contextmix.traces.trace import LayerTrace


def weights_of(layer: LayerTrace) -> Tensor:
    """The attention weights of a layer, for what looks at them and at nothing else.

    Args:
        layer: The recorded layer.

    Returns:
        (..., head, query, key), ≥ 0, rows sum to at most one. A head with several kinds of values (Longformer's global
        tokens have their own) weighs each token once for all of them.

    Raises:
        UnsupportedModel: If its maps are no weights: entries are negative, or rows sum to more than one.
    """
    maps, kinds = layer.attention, layer.block.kinds
    if kinds > 1:
        maps = sum(maps.chunk(kinds, dim=-3), start=maps.new_zeros(()))
    lowest, longest = float(maps.min()), float(maps.sum(-1).max())
    if kinds == 0 or lowest < 0 or longest > 1 + layer.tolerance:
        raise UnsupportedModel(
            f"Layer {layer.index}: its heads mix tokens with factors that are no attention weights (the smallest is "
            f"{lowest:.2g}, and a row sums to {longest:.2g}), so a method that reads them as shares would mislead. No "
            "number was produced. Use a method that measures what they do, such as norm, globenc or value_zeroing."
        )
    return maps


def refuse_channels(layer: LayerTrace, name: str, reason: str) -> None:
    """Refuse what has no meaning where each channel has a map of its own.

    Args:
        layer: The recorded layer.
        name: Of the method.
        reason: What its numbers would be there.

    Raises:
        UnsupportedModel: If this is such a layer.
    """
    if layer.channelwise:
        raise UnsupportedModel(
            f"Layer {layer.index} is no attention: it mixes tokens with a map of its own for every channel, whose "
            f"entries may be negative and whose rows need not sum to one, so {name} {reason}. No number was produced. "
            "Use a method that follows what the tokens send, such as value_zeroing, globenc or evidence."
        )


def refuse_some_rows(layer: LayerTrace, name: str) -> None:
    """Refuse what looks at all rows of a layer at once, where only a block of them is there.

    Args:
        layer: The recorded layer.
        name: Of the method.

    Raises:
        UnsupportedModel: If there are other rows than keys, and the keys are tokens of the same sequence.
    """
    *_, n_queries, n_keys = layer.attention.shape
    if not layer.cross and n_queries != n_keys:
        raise UnsupportedModel(
            f"Layer {layer.index}: {name} looks at all rows of a layer at once, and these are {n_queries} rows (from "
            f"token {layer.first} on) over {n_keys} tokens. No number was produced. Give the whole layer."
        )
