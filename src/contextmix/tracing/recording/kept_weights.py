"""What of a block depends on its weights alone, kept between runs of a model and thrown away when a weight changes.

Nobody has to say that a weight has changed: each run looks. It multiplies the output projection with a few random
directions, which reads it once, and compares what comes out with what came out before, to the last bit, together with
the parameters of the norms and the version that torch counts for the weight. So it makes no difference whether an
optimiser stepped, ``.data`` was written to, an adapter was merged, a module was swapped or a checkpoint loaded. A
change that the random directions do not see is one within the rounding of the products themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from contextmix.maths.pushed import Pushed, same
from contextmix.traces.anatomy import BlockAnatomy
from contextmix.traces.block import Block
from contextmix.tracing.recording.offload import is_offloaded_itself
from contextmix.tracing.recording.resolve import part
from contextmix.tracing.recording.verify import sketched

ROOM = 1 << 28
"""Bytes that are kept for one model at most: BERT-base takes 57 MiB."""

SEEN_BY = 4
"""Directions by which a weight is recognised: of one direction alone a change of one row might be hidden by chance."""

Print = list[Tensor | float | None]


@dataclass
class _Kept:
    """Of one block: what it was made of, and what was made."""

    seen: Print
    pushed: Pushed


class _OfModel:
    """Of one model."""

    def __init__(self) -> None:
        self.room = [ROOM]
        self.blocks: dict[str, _Kept] = {}


_MODELS: WeakKeyDictionary[nn.Module, _OfModel] = WeakKeyDictionary()


def with_kept(model: nn.Module, block: Block, place: BlockAnatomy) -> Block:
    """A block as it is now, with what is kept of its weights if these are the same as before.

    Args:
        model: What the block is part of; what is kept goes when the model does.
        block: Resolved in this run.
        place: Where it is.
    """
    if is_offloaded_itself(part(part(model, place.path), place.attention.output)):
        return block  # whoever keeps weights on a disk has no memory for them
    weight = block.output_weight
    norms = {
        "attention.norm_out": block.attention.norm_out,
        "attention.norm_after": block.attention.norm_after,
        "ffn.norm_in": block.ffn.norm_in,
        "ffn.norm_after": block.ffn.norm_after,
    }
    seen: Print = [sketched(weight, SEEN_BY), *_version(weight)]
    for norm in norms.values():
        seen += [None] if norm is None else [float(norm.kind == "rms"), norm.weight, norm.eps]
    known = _MODELS.setdefault(model, _OfModel())
    kept = known.blocks.get(place.path)
    if kept is None or not same(kept.seen, seen):
        if kept is not None:
            kept.pushed.drop()
        # Weights of norms are the model's own memory and would change together with it.
        own: Print = [one.clone() if isinstance(one, Tensor) else one for one in seen]
        kept = known.blocks[place.path] = _Kept(own, Pushed(known.room, sketched(weight)))
    return replace(block, pushed=kept.pushed.of(weight, norms))


def _version(weight: Tensor) -> tuple[float, ...]:
    """What torch counts of changes in place; nothing of tensors that count none."""
    return () if weight.is_inference() else (float(weight._version),)
