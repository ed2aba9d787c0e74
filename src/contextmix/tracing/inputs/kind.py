"""What a kind of input promises that is no text: how it is recognised, read, and divided into single inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from contextmix.plugins.registry import Registry
from contextmix.tracing.inputs.encode import Inputs


class Reading(Protocol):
    """How one input of a kind becomes what a model reads."""

    def __call__(
        self, model: PreTrainedModel, processor: Any, source: Any, sampling_rate: int | None, *, truncate: bool
    ) -> Inputs:
        """The source as a single input; raises `BadInput` where it is none."""


@dataclass(frozen=True)
class Kind:
    """A kind of input, such as images.

    Attributes:
        name: In the singular, for people; the name of its file.
        inputs: What models call it → the axes of such a tensor, with that of the batch.
        reader: What turns it into tensors, for people.
        attribute: Where a processor that holds several readers keeps that one.
        given_as: What may be given instead of a file, for people.
        sampled: Whether it has a sampling rate.
        recognises: Whether an object is one of this kind and no other.
        load: ``load(place, **options)`` gives the reader that lies beside a model.
        read: From the source to a single input.
        split: ``split(model, processor, tensors)``: tensors of several, with a batch axis, as single inputs.
    """

    name: str
    inputs: Mapping[str, int]
    reader: str
    attribute: str
    given_as: str
    sampled: bool
    recognises: Callable[[Any], bool]
    load: Callable[..., Any]
    read: Reading
    split: Callable[[PreTrainedModel, Any, dict[str, Tensor]], list[Inputs]]


KINDS: Registry[Kind] = Registry("contextmix.tracing.inputs.kinds", "KIND", "kind of input")


def row_of(tensors: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """One row of each tensor of a batch; a switch is that of every row."""
    return {name: value if value.ndim == 0 else value[number] for name, value in tensors.items()}
