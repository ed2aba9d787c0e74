"""What lies around the blocks of a stack: a tower that reads the images of a prompt, and nothing between two blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.traces.anatomy import BlockAnatomy
from contextmix.tracing.recording.quiet import first_states, has_images, quiet_run
from contextmix.tracing.recording.turns import after, before, undone
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

    Features of an image may be added between blocks, and neither block sees that: each adds up by itself. So it is
    refused, unless layers are looked at one by one, or only rows are read to which nothing was added. Then it may be at
    image places alone, and is what the next block reads there.

    Args:
        kind: Of the model, for sentences.
        images: Where something may be added, (batch, token); None for nowhere.
        rows: Where nothing may be, though it is an image place; None for no such rows.
    """

    def __init__(self, kind: str, images: Tensor | None = None, rows: slice | None = None) -> None:
        self.kind, self.images, self.rows = kind, images, rows
        self.changed: list[int] = []
        self._wrote: Tensor | None = None
        self._version = 0

    def wrote(self, output: Any) -> None:
        """A block ends."""
        self._wrote = first_states(output)
        self._version = _version(self._wrote)

    def refuse_change(self, places: Sequence[BlockAnatomy], number: int, args: Any, kwargs: Any) -> None:
        """A block begins.

        Raises:
            UnsupportedModel: If something was added where it may not be, or the states were changed in another way.
        """
        wrote, self._wrote = self._wrote, None
        if wrote is None:
            return
        read = first_states(args, kwargs)
        if read is wrote and _version(wrote) == self._version:
            return
        if read is not None and read is not wrote:
            if close(read, wrote, tolerance(wrote.dtype)):
                return
            if self._is_of_images(read, wrote):
                self.changed.append(number)
                return
        here = places[min(number, len(places) - 1)].path
        raise UnsupportedModel(
            f"{self.kind!r}: on this input, what {here} reads is not what {places[number - 1].path} wrote. Something "
            "acts between these blocks, such as features of an image that are added there, and an attribution across "
            "layers would miss it. No number was produced. Ask for the maps of single layers (layers='all' without an "
            "aggregation) or for evidence, which need not go across; or leave the images out."
        )

    def _is_of_images(self, read: Tensor, wrote: Tensor) -> bool:
        """Whether the states differ where they may."""
        if self.images is None or read.shape != wrote.shape or self.images.shape != read.shape[:-1]:
            return False
        limit = tolerance(wrote.dtype) * wrote.norm(dim=-1).mean()
        moved = (read - wrote).norm(dim=-1) > limit
        images = self.images.to(moved.device)
        if self.rows is not None:
            images = images.clone()
            images[..., self.rows] = False
        return not bool((moved & ~images).any())


def image_places(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Tensor | None:
    """Which tokens hold the place of an image, (batch, token); None of a prompt without images."""
    mark, ids = image_id(model), inputs.get("input_ids")
    return None if mark is None or ids is None or not has_images(inputs) else ids == mark


def image_id(model: PreTrainedModel) -> int | None:
    """The id of the token that holds the place of an image; None if the configuration names none."""
    names = ("image_token_id", "image_token_index")
    return next((found for name in names if isinstance(found := getattr(model.config, name, None), int)), None)


def goes_through(model: PreTrainedModel, places: Sequence[BlockAnatomy], inputs: Mapping[str, Tensor]) -> bool:
    """Whether all that the blocks read comes through the first one, for methods that go across and record nothing.

    Args:
        model: The model.
        places: Its blocks.
        inputs: What it reads, with a batch axis; only a prompt with images is run.

    Returns:
        True.

    Raises:
        UnsupportedModel: If something acts between the blocks.
    """
    between, number = Between(model.config.model_type), count()

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        between.refuse_change(places, next(number), args, kwargs)

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        between.wrote(output)

    if has_images(inputs):
        with ExitStack() as stack:
            for path in dict.fromkeys(place.path for place in places):
                block = model.get_submodule(path)
                stack.enter_context(undone(before(block, enter).remove))
                stack.enter_context(undone(after(block, leave).remove))
            quiet_run(model, inputs, last_logits=1)
    return True


def _version(states: Tensor | None) -> int:
    """How often a tensor was changed in place; tensors of inference mode do not count it."""
    return 0 if states is None or states.is_inference() else states._version
