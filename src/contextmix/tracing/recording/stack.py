"""What lies around the blocks of a stack: a tower that reads the images of a prompt, and nothing between two blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.traces.anatomy import BlockAnatomy
from contextmix.tracing.recording.quiet import first_states, has_images
from contextmix.tracing.recording.verify import close, tolerance


@dataclass(frozen=True)
class Tower:
    """What reads the images of a prompt before the first block: all that is no part of the stack of the blocks.

    Attributes:
        stack: The numbers of all modules of the stack; attention in them and outside of the blocks is a missed block.
    """

    stack: frozenset[int]

    @classmethod
    def of(cls, model: PreTrainedModel, first_block: str, inputs: Mapping[str, Any]) -> Tower | None:
        """The tower of a model; None where there are no images to read, or the stack is the whole model."""
        stack = stack_of(model, first_block)
        return cls(frozenset(map(id, stack.modules()))) if has_images(inputs) and stack is not model else None

    def holds(self, module: nn.Module) -> bool:
        """Whether an attention module belongs to the tower."""
        return id(module) not in self.stack


def stack_of(model: PreTrainedModel, first_block: str) -> PreTrainedModel:
    """The innermost model of transformers that holds a block: the stack that it is part of."""
    found, path = model, ""
    for name in first_block.split("."):
        path = f"{path}.{name}".removeprefix(".")
        part = model.get_submodule(path)
        found = part if isinstance(part, PreTrainedModel) else found
    return found


class Between:
    """Compares what a block reads with what the block before it wrote, on the real input of every run.

    Features of an image may be added between blocks, and neither block sees that: each adds up by itself.

    Args:
        kind: Of the model, for sentences.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._wrote: Tensor | None = None
        self._version = 0

    def wrote(self, output: Any) -> None:
        """A block ends."""
        self._wrote = first_states(output)
        self._version = _version(self._wrote)

    def refuse_change(self, places: Sequence[BlockAnatomy], number: int, args: Any, kwargs: Any) -> None:
        """A block begins.

        Raises:
            UnsupportedModel: If something was added, or the states were changed in another way.
        """
        before, self._wrote = self._wrote, None
        if before is None:
            return
        read = first_states(args, kwargs)
        same = read is before and _version(before) == self._version
        if same or (read is not None and read is not before and close(read, before, tolerance(before.dtype))):
            return
        here = places[min(number, len(places) - 1)].path
        raise UnsupportedModel(
            f"{self.kind!r}: on this input, what {here} reads is not what "
            f"{places[number - 1].path} wrote. Something acts between these blocks, such as features of an image that "
            "are added there, and an attribution across layers would miss it. No number was produced. Without its "
            "images the same text may be read."
        )


def _version(states: Tensor | None) -> int:
    """How often a tensor was changed in place; tensors of inference mode do not count it."""
    return 0 if states is None or states.is_inference() else states._version
