"""Some rows of the last block's output as sums of one vector per input token, carried through all blocks.

Of a model that only looks back, a row is made of what stands before it, whatever follows. So the rows of an answer
share everything up to the last block.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from contextmix.errors import BadOption
from contextmix.maths import decompx
from contextmix.maths.decompx import Rules
from contextmix.maths.feedforward import GatedFeedForward
from contextmix.traces.splitting import feed_forward, split_block
from contextmix.traces.trace import LayerTrace


def parts_of_rows(layers: Sequence[LayerTrace], rows: slice, rules: Rules, budget: int) -> Tensor:
    """The parts of some rows of the last block's output.

    Args:
        layers: All rows of every block; `splitting.obstacle` is None for each.
        rows: The rows that are wanted.
        rules: How what is not linear is split.
        budget: Bytes that the parts and the work on them may take.

    Returns:
        (source, row, d_model), contiguous.

    Raises:
        BadOption: If the budget does not hold the parts and one row of work.
    """
    parts, step = layers[0].residual_in.new_empty(0, 0, 0), _step(layers[0], budget)
    for number, layer in enumerate(layers):
        block, last = split_block(layer), number == len(layers) - 1
        if number and layer.added is not None:  # features of an image are their own token's, as its embedding is
            parts.diagonal(dim1=0, dim2=1).add_(layer.added.T)
        shown = block.queries(rows) if last else block
        if number == 0 and block.parallel:
            parts = decompx.own_parts(layer.residual_in)
        added = decompx.parallel_parts(parts[:, rows] if last else parts, shown, rules, step)
        if number == 0:
            del parts  # or there would be two of them
            parts = decompx.first_parts(layer.residual_parts)
            parts = parts[:, rows].contiguous() if last else parts
        elif last:
            parts = decompx.mix_rows_(parts, block.attention, rows, step)
        else:
            parts = decompx.mix_(parts, block.attention, step)
        parts = decompx.rest_of_block_(parts, shown, rules, step, added)
    return parts


def _step(layer: LayerTrace, budget: int) -> int:
    """Sources or queries at a time."""
    n_heads, n = layer.attention.shape[:2]
    ffn, (d_model, size) = feed_forward(layer), (layer.residual_in.shape[-1], layer.residual_in.element_size())
    assert ffn is not None  # refused before
    gated = isinstance(ffn, GatedFeedForward)
    d_ffn = (ffn.second.weight if isinstance(ffn, GatedFeedForward) else ffn.second).shape[0]
    held = decompx.held_elements(n, n_heads, d_model, parallel=layer.block.parallel)
    row = decompx.row_elements(n, layer.block.output_weight[..., 0].numel(), d_model, d_ffn, gated=gated)
    if (held + row) * size > budget:
        raise BadOption(
            f"memory_budget={budget} is too small: decompx keeps a vector for each of the {n}·{n} pairs of tokens and "
            f"works on one row at a time, which takes {(held + row) * size} bytes. Give it at least these, or a "
            "shorter text."
        )
    return min((budget // size - held) // row, max(1, decompx.CHUNK_ELEMENTS // row))
