"""One image or sound for a tower that reads all patches, or all frames, in one row, and beside it how many there are.

Such a model has no batch axis: ``{"hidden_states": (patch, number), "grid_thw": (image, 3)}``. Its attention then stays
within each image, so several in a row are no one sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput
from contextmix.tracing.inputs.asked import SIZES_BESIDE
from contextmix.tracing.inputs.beside import used
from contextmix.tracing.inputs.encode import Inputs, as_tensor
from contextmix.tracing.inputs.kind import row_of
from contextmix.tracing.recording.quiet import BESIDE


def read_packed(model: PreTrainedModel, source: Any) -> list[Inputs] | None:
    """Model inputs of images or sounds that say their sizes, as single ones; None if the source is something else.

    Args:
        model: The model.
        source: What was given.

    Raises:
        BadInput: If several came in one row, or the numbers are no finite ones.
    """
    if not isinstance(source, Mapping) or "input_ids" in source or "inputs_embeds" in source:
        return None
    sizes = next((name for name in SIZES_BESIDE if source.get(name) is not None), None)
    if sizes is None:
        return None
    tensors = {name: _as_read(model, name, value) for name, value in used(model, source).items()}
    counts = {name: len(value) for name, value in tensors.items() if value.ndim}
    if len(set(counts.values())) == 1:  # each has a batch axis
        return [Inputs(None, row_of(tensors, number), 0) for number in range(counts[sizes])]
    if counts[sizes] != 1:
        raise BadInput(
            f"{sizes} says the size of {counts[sizes]} images or sounds, which stand in one row and do not attend to "
            "each other, so one map would mix them up. Give them one by one, in a list."
        )
    return [Inputs(None, {BESIDE + name: value for name, value in tensors.items()}, 0)]


def is_one_in_a_row(source: Mapping[str, Any]) -> bool:
    """Whether model inputs are one image or sound whose parts stand in one row."""
    sizes = next((source[name] for name in SIZES_BESIDE if source.get(name) is not None), None)
    counts = [len(value) for value in source.values() if getattr(value, "ndim", 0)]
    return sizes is not None and len(sizes) == 1 and max(counts, default=1) > 1


def _as_read(model: PreTrainedModel, name: str, given: Any) -> Tensor:
    value = as_tensor(name, given)
    if not value.is_floating_point():
        return value
    if not bool(value.isfinite().all()):
        raise BadInput(f"{name} holds NaN or infinity, so every number that follows would be wrong.")
    return value.to(model.dtype)
