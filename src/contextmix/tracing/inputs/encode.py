"""From model inputs to `Inputs`: one sequence each, labelled, without padding; and what texts share with them.

Padding never reaches a formula: padded inputs are split into sequences and unpadded, and a batch holds sequences of
equal length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput, BadOption, TooLong
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.spelled import spelled
from contextmix.tracing.recording.quiet import BESIDE

_UNLIMITED = 10**6  # tokenizers without a limit say 1e30


@dataclass(frozen=True)
class Inputs:
    """One sequence for the model.

    Attributes:
        tokens: Its labels; None where they are only known after the run (inputs that are not text).
        tensors: Model inputs without the batch axis; a switch has no axis at all.
        length: Number of tokens, or 0 if unknown; sequences of one length share a batch.
        place: Model, anatomy, tensors and number of tokens → the labels of what is not text.
        notes: What results say about how it was read.
        windows: Where the pixels of its images stand (`contextmix.tracing.inputs.regions.Windows`); None if unknown.
    """

    tokens: Tokens | None
    tensors: Mapping[str, Tensor]
    length: int
    place: Callable[[PreTrainedModel, Anatomy, Mapping[str, Tensor], int], Tokens] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    windows: Any = None

    def labels(self, model: PreTrainedModel, anatomy: Anatomy, count: int) -> Tokens:
        """The labels, once the run has shown how many tokens there are.

        Raises:
            UnsupportedModel: If tokens of an image or a sound do not fit the places that they should have.
        """
        if self.tokens is not None:
            return self.tokens
        return numbered(count) if self.place is None else self.place(model, anatomy, self.tensors, count)


def length_limit(model: PreTrainedModel, tokenizer: Any | None) -> int | None:
    """The most tokens that a model reads in one sequence; None if nothing says so."""
    limits = [getattr(tokenizer, "model_max_length", None), getattr(model.config, "max_position_embeddings", None)]
    for path, module in model.named_modules():
        if path.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa counts positions from padding_idx + 1 on, so its table holds fewer tokens than rows.
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    known = [int(limit) for limit in limits if limit is not None and 0 < limit < _UNLIMITED]
    return min(known, default=None)


def split(
    model_inputs: Mapping[str, Any], vocabulary: int | None, limit: int | None, tokenizer: Any | None
) -> list[Inputs]:
    """Model inputs that a user made, as single sequences without padding.

    Args:
        model_inputs: For example ``{"input_ids": …, "attention_mask": …}``, with or without a batch axis.
        vocabulary: Number of token ids that the model knows.
        limit: The most tokens that it reads.
        tokenizer: For the labels; without one, tokens are labelled by their ids.

    Returns:
        One `Inputs` per sequence, in order.

    Raises:
        BadInput: If there is nothing in them, shapes disagree, ids are out of range or padding is not at an end.
        TooLong: If a sequence is longer than the limit.
    """
    tensors = {name: as_tensor(name, value) for name, value in model_inputs.items()}
    if not tensors:
        raise BadInput("The model inputs are empty; give at least input_ids or what the model reads instead.")
    tensors |= {name: as_ids(name, tensors[name]) for name in ("input_ids", "token_type_ids") if name in tensors}
    leading = _leading(tensors)
    if leading is None:
        count = next((len(value) for value in tensors.values() if value.ndim), 0)
        return [Inputs(None, {name: _row(value, i) for name, value in tensors.items()}, 0) for i in range(count)]
    if leading.ndim == (1 if "input_ids" in tensors else 2):
        tensors = {name: _as_batch(name, value) for name, value in tensors.items()}
        leading = leading.unsqueeze(0)
    elif "position_ids" in tensors and tensors["position_ids"].ndim == 3:
        tensors["position_ids"] = tensors["position_ids"].movedim(1, 0)  # models read (axis, batch, token)
    shape = (leading.shape[0], leading.shape[1])
    if shape[0] == 0:
        raise BadInput("The model inputs hold no sequence, so there is nothing to explain. Give one at least.")
    mask = _mask(tensors, shape)
    if "position_ids" in tensors:
        tensors["position_ids"] = _positions(tensors["position_ids"], shape)
    for name, value in tensors.items():
        if value.ndim and value.shape[0] != shape[0]:
            raise BadInput(f"{name} holds {value.shape[0]} sequences and the other inputs {shape[0]}; they must agree.")
    return [_sequence(tensors, mask, row, vocabulary, limit, tokenizer) for row in range(shape[0])]


def _leading(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """What the tokens are counted in: ids or embeddings; None where there is neither."""
    if "input_ids" in tensors and "inputs_embeds" in tensors:
        raise BadInput(
            "The model inputs hold input_ids and inputs_embeds, and a model reads one of them. Leave the other out."
        )
    embedded = tensors.get("inputs_embeds")
    if embedded is not None and not embedded.is_floating_point():
        raise BadInput(f"inputs_embeds are vectors of floating-point numbers; these are {embedded.dtype}.")
    if embedded is not None and not bool(embedded.isfinite().all()):
        raise BadInput("inputs_embeds hold NaN or infinity, so every number that follows would be wrong.")
    found = tensors.get("input_ids", embedded)
    if found is not None and found.ndim not in ((1, 2) if embedded is None else (2, 3)):
        name, axes = ("input_ids", "(sequence, token)") if embedded is None else ("inputs_embeds", "(…, token, number)")
        raise BadInput(f"{name} has shape {tuple(found.shape)}; give {axes}, or one sequence without that axis.")
    return found


def _as_batch(name: str, value: Tensor) -> Tensor:
    """An input of one sequence as that of a batch of one; positions may have had that axis alone."""
    if value.ndim == 0 or (name == "position_ids" and value.ndim == 2 and len(value) == 1):
        return value
    return value.unsqueeze(0)


def _mask(tensors: dict[str, Tensor], shape: tuple[int, int]) -> Tensor:
    """Which tokens are none of padding, (batch, token).

    Beside positions it stays among the tensors: without a mask, decoders may read positions in another way (see
    `contextmix.tracing.inputs.beside`).
    """
    mask = tensors.pop("attention_mask", None)
    if mask is None:
        return torch.ones(shape, dtype=torch.long)
    if mask.ndim > 2:
        raise BadInput(
            f"attention_mask has {mask.ndim} axes, {tuple(mask.shape)}: it says for each pair of tokens which may be "
            "seen. contextmix reads masks of padding only, (sequence, token), with 1 for each true token, and without "
            "yours the maps would be those of another run. Give texts that were packed into one sequence one by one."
        )
    if mask.shape != shape:
        raise BadInput(f"attention_mask has shape {tuple(mask.shape)}, the inputs {shape}; they must agree.")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise BadInput(
            f"attention_mask holds other numbers than 0 and 1 (from {float(mask.min()):g} to {float(mask.max()):g}). "
            "Give 1 for each true token and 0 for padding."
        )
    if "position_ids" in tensors:
        tensors["attention_mask"] = mask
    return mask


def _positions(positions: Tensor, shape: tuple[int, int]) -> Tensor:
    """Positions (batch, token), or (batch, axis, token) where a model counts along several axes."""
    fits = positions.ndim in (2, 3) and positions.shape[-1] == shape[1] and positions.shape[0] in (1, shape[0])
    if not fits or positions.is_floating_point() or positions.dtype is torch.bool:
        raise BadInput(
            f"position_ids has shape {tuple(positions.shape)} and type {positions.dtype}, the inputs {shape}. Give "
            "whole numbers (sequence, token), or (axis, sequence, token) for a model that counts along several axes."
        )
    return positions.expand(shape[0], *positions.shape[1:])


def token_axis(name: str, value: Tensor, length: int) -> int | None:
    """The axis over the tokens in what a model reads of one sequence; None if it has none."""
    if name == "position_ids":
        return value.ndim - 1  # (axis, token) where a model counts along several axes
    if name.startswith(BESIDE):  # as many patches as tokens would be chance
        return None
    return 0 if value.shape[:1] == (length,) else None


def _row(value: Tensor, row: int) -> Tensor:
    return value if value.ndim == 0 else value[row]


def as_tensor(name: str, value: Any) -> Tensor:
    """What a user gave as a model input, as a tensor; `BadInput` if it is no array of numbers."""
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise BadInput(
            f"{name} is no array of numbers ({reason}). Give a tensor or nested lists of equal length; sequences of "
            "different length are padded, with an attention_mask, or given one by one in a list."
        ) from reason
    if found.is_meta or found.layout is not torch.strided or found.is_complex():
        kind = "without numbers in it" if found.is_meta else f"of {found.dtype} in the layout {found.layout}"
        raise BadInput(f"{name} is a tensor {kind}, and models read dense tensors of real numbers. Convert it first.")
    return found


def as_ids(name: str, tensor: Tensor) -> Tensor:
    """Numbers of rows in a table, such as token ids, in the type that every model reads.

    Raises:
        BadInput: If they are no whole numbers. True is none: it would be read as the token with the id 1.
    """
    if tensor.numel() and (tensor.is_floating_point() or tensor.dtype is torch.bool):
        raise BadInput(f"{name} are whole numbers, and these are {tensor.dtype}. Convert them first.")
    return tensor.long()


def _sequence(
    tensors: Mapping[str, Tensor],
    mask: Tensor,
    row: int,
    vocabulary: int | None,
    limit: int | None,
    tokenizer: Any | None,
) -> Inputs:
    kept = mask[row].bool().nonzero().flatten()
    if len(kept) == 0:
        raise BadInput(f"Sequence {row} contains only padding, so there is no token to explain.")
    first, last = int(kept[0]), int(kept[-1]) + 1
    length = len(kept)
    if last - first != length:
        raise BadInput(f"The attention_mask of sequence {row} has a gap; padding is only supported at the ends.")
    own = {name: _row(value, row) for name, value in tensors.items()}
    for name, value in own.items():
        axis = token_axis(name, value, mask.shape[1])
        own[name] = value if axis is None else value.narrow(axis, first, length)
    ids = own.get("input_ids")
    if ids is not None and vocabulary is not None and not bool(((ids >= 0) & (ids < vocabulary)).all()):
        raise BadInput(
            f"Sequence {row} holds token ids from {int(ids.min())} to {int(ids.max())}; the model knows 0 to "
            f"{vocabulary - 1}."
        )
    if limit is not None and length > limit:
        raise TooLong(length, limit)
    return Inputs(_labels(ids, length, tokenizer), own, length)


def _labels(ids: Tensor | None, length: int, tokenizer: Any | None) -> Tokens:
    if ids is None:
        return numbered(length)
    numbers = tuple(ids.tolist())
    if tokenizer is None:
        return Tokens(tuple(map(str, numbers)), numbers)
    marks = set(tokenizer.all_special_ids)
    named = tokenizer.convert_ids_to_tokens(list(numbers))
    # A model may know more ids than its tokenizer (rows that fill up the table), and write them too.
    unnamed = [piece is None or number in marks for number, piece in zip(numbers, named, strict=True)]
    pieces = [str(number) if piece is None else piece for number, piece in zip(numbers, named, strict=True)]
    return Tokens(spelled(tokenizer, pieces, unnamed), numbers, tuple(number in marks for number in numbers))


def numbered(count: int) -> Tokens:
    """Labels of tokens of which nothing is known but their order."""
    return Tokens(tuple(f"#{position}" for position in range(count)))


def batches(inputs: Sequence[Inputs], batch_size: int) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Group sequences of equal length into batches: positions in ``inputs``, and stacked tensors.

    What stands in one row has no batch axis, and two in a row would be one longer input: each runs alone.
    """
    if batch_size < 1:
        raise BadOption(
            f"batch_size={batch_size} would run nothing. Use at least 1; it is the number of sequences to run together."
        )
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, one in enumerate(inputs):
        alike = (one.length, *((name, tuple(value.shape) or value.item()) for name, value in one.tensors.items()))
        in_a_row = all(name.startswith(BESIDE) for name in one.tensors)
        groups.setdefault((*alike, position) if in_a_row else alike, []).append(position)
    for positions in groups.values():
        for start in range(0, len(positions), batch_size):
            chosen = positions[start : start + batch_size]
            yield chosen, stacked([inputs[position] for position in chosen])


def stacked(alike: Sequence[Inputs]) -> dict[str, Tensor]:
    """Sequences of equal length as the model inputs of one batch."""
    return {name: torch.stack([one.tensors[name] for one in alike]) for name in alike[0].tensors}
