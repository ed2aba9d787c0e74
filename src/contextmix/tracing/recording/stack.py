"""What lies around the blocks of a stack: a tower that reads the images of a prompt, and the places of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.tracing.recording.quiet import configurations, has_images


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


def image_places(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Tensor | None:
    """Which tokens hold the place of an image, (batch, token); None of a prompt without images."""
    mark, ids = image_id(model), inputs.get("input_ids")
    return None if mark is None or ids is None or not has_images(inputs) else ids == mark


def image_id(model: PreTrainedModel) -> int | None:
    """The id of the token that holds the place of an image; None if the configuration names none."""
    names = ("image_token_id", "image_token_index")
    configs = [model.config, *configurations(model)]  # its own first: those of its parts may say what nobody uses
    found = (getattr(config, name, None) for config in configs for name in names)
    return next((number for number in found if isinstance(number, int)), None)
