"""What happens between two blocks of a stack: nothing, or features of an image are added at the places of that image.

Such features are the token's own: what a place of an image is made of enters in part before the first block and in part
later. So they join its residual: in a map over layers nothing moves there, in a sum of parts they stand beside the
token's embedding, and a gradient is taken with respect to both, side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.maths.precision import at_least_float32
from contextmix.traces.anatomy import BlockAnatomy
from contextmix.tracing.recording.blocks.by_token import by_token
from contextmix.tracing.recording.quiet import first_states, has_images, quiet_run
from contextmix.tracing.recording.stack import image_places
from contextmix.tracing.recording.turns import after, before, undone
from contextmix.tracing.recording.verify import close, tolerance


class Between:
    """Compares what a block reads with what the block before it wrote, on the real input of every run.

    Args:
        kind: Of the model, for sentences.
        images: Where features may be added, (batch, token); None for nowhere.
    """

    def __init__(self, kind: str, images: Tensor | None = None) -> None:
        self.kind, self.images = kind, images
        self.changed: list[int] = []
        self._wrote: Tensor | None = None
        self._version = 0

    def wrote(self, output: Any) -> None:
        """A block ends."""
        self._wrote = first_states(output)
        self._version = _version(self._wrote)

    def added(self, places: Sequence[BlockAnatomy], number: int, args: Any, kwargs: Any) -> Tensor | None:
        """A block begins.

        Returns:
            What was added to what the block before it wrote, in float32 at least; None where nothing was.

        Raises:
            UnsupportedModel: If something was added where no image is, or the states were changed in another way.
        """
        wrote, self._wrote = self._wrote, None
        if wrote is None:
            return None
        read = first_states(args, kwargs)
        if read is wrote and _version(wrote) == self._version:
            return None
        if read is not None and read is not wrote:
            if close(read, wrote, tolerance(wrote.dtype)):
                return None
            if (found := self._of_images(read, wrote)) is not None:
                self.changed.append(number)
                return found
        here = places[min(number, len(places) - 1)].path
        raise UnsupportedModel(
            f"{self.kind!r}: on this input, what {here} reads is not what {places[number - 1].path} wrote. Something "
            "acts between these blocks at other tokens than the places of images, and an attribution across layers "
            "would miss it. No number was produced. Leave the images out, or explain a model without that addition."
        )

    def _of_images(self, read: Tensor, wrote: Tensor) -> Tensor | None:
        """What the states differ by where they may; None if they differ elsewhere."""
        if self.images is None or read.shape != wrote.shape or self.images.shape != read.shape[:-1]:
            return None
        difference = at_least_float32(read) - at_least_float32(wrote)
        limit = tolerance(wrote.dtype) * at_least_float32(wrote).norm(dim=-1).mean()
        images = self.images.to(difference.device)
        if bool(((difference.norm(dim=-1) > limit) & ~images).any()):
            return None
        return torch.where(images.unsqueeze(-1), difference, 0.0)


class Entering(NamedTuple):
    """What a stack of blocks is given of each token.

    Attributes:
        first: What enters the first block, (batch, token, d_model).
        later: The number of a block → what is added before it, the same.
    """

    first: Tensor
    later: Mapping[int, Tensor]

    @property
    def together(self) -> Tensor:
        """All of it side by side, (batch, token, d_model · (1 + additions))."""
        return side_by_side(self.first, self.later)


def side_by_side(first: Tensor, later: Mapping[int, Tensor]) -> Tensor:
    """What enters the first block and what is added later, in the order of the blocks, as one vector for each token."""
    return torch.cat([first, *(later[number].to(first.dtype) for number in sorted(later))], -1) if later else first


def taken_apart(together: Tensor, numbers: Sequence[int]) -> Entering:
    """The other way round.

    Args:
        together: See `side_by_side`.
        numbers: Of the blocks before which something is added.
    """
    first, *later = together.chunk(1 + len(numbers), -1)
    return Entering(first, dict(zip(sorted(numbers), later, strict=True)))


def entering(
    model: PreTrainedModel, places: Sequence[BlockAnatomy], inputs: Mapping[str, Tensor], *, last_logits: int = 0
) -> tuple[Entering, Any]:
    """What the blocks are given, and the model's outputs, for methods that record nothing.

    Args:
        model: The model.
        places: Its blocks.
        inputs: What it reads, with a batch axis.
        last_logits: See `quiet_run`.

    Raises:
        UnsupportedModel: If something acts between the blocks at other tokens than image places; looked at where there
            are images.
    """
    between, pictured = Between(model.config.model_type, image_places(model, inputs)), has_images(inputs)
    first: list[Tensor] = []
    later: dict[int, Tensor] = {}

    def enter(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not number:
            states = first_states(args, kwargs)
            assert states is not None  # a block reads hidden states
            first.append(by_token(states, places[0]).detach())
        elif pictured and (found := between.added(places, number, args, kwargs)) is not None:
            later[number] = found

    with _watched(model, places if pictured else places[:1], enter, between.wrote):
        outputs = quiet_run(model, inputs, last_logits=last_logits)
    return Entering(first[0], later), outputs


@contextmanager
def replaced_later(
    model: PreTrainedModel, places: Sequence[BlockAnatomy], own: Mapping[int, Tensor], new: Mapping[int, Tensor]
) -> Iterator[None]:
    """Other features are added between blocks, in runs of this thread; gradients flow to them.

    Args:
        model: The model.
        places: Its blocks.
        own: The number of a block → what the model adds before it.
        new: What is to be added instead.
    """

    def enter(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if number not in new:
            return None
        states = first_states(args, kwargs)
        assert states is not None  # a block reads hidden states
        other = states + (new[number] - own[number].to(new[number].dtype)).to(states.dtype)
        swapped = tuple(other if value is states else value for value in args)
        return swapped, {name: other if value is states else value for name, value in kwargs.items()}

    if not new:
        yield
        return
    with _watched(model, places, enter, lambda output: None):
        yield


@contextmanager
def _watched(
    model: PreTrainedModel,
    places: Sequence[BlockAnatomy],
    enter: Callable[[int, tuple[Any, ...], dict[str, Any]], Any],
    leave: Callable[[Any], None],
) -> Iterator[None]:
    """Called with the number of a block and what it reads, and with what it wrote; a shared block is hooked once."""
    numbers = count()
    with ExitStack() as stack:
        for path in dict.fromkeys(place.path for place in places):
            block = model.get_submodule(path)
            hook = before(block, lambda module, args, kwargs: enter(next(numbers), args, kwargs))
            stack.enter_context(undone(hook.remove))
            stack.enter_context(undone(after(block, lambda module, args, output: leave(output)).remove))
        yield


def _version(states: Tensor | None) -> int:
    """How often a tensor was changed in place; tensors of inference mode do not count it."""
    return 0 if states is None or states.is_inference() else states._version
