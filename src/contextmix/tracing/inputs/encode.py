"""From model inputs to `Inputs`: one sequence each, labelled, without padding; and what texts share with them.

Padding never reaches a formula: padded inputs are split into sequences and unpadded, and a batch holds sequences of
equal length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput, BadOption, TooLong
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy

_UNLIMITED = 10**6  # tokenizers without a limit say 1e30


@dataclass(frozen=True)
class Inputs:
    """One sequence for the model.

    Attributes:
        tokens: Its labels; None where they are only known after the run (inputs that are not text).
        tensors: Model inputs without the batch axis.
        length: Number of tokens, or 0 if unknown; sequences of one length share a batch.
        place: Model, anatomy, tensors and number of tokens → the labels of what is not text.
    """

    tokens: Tokens | None
    tensors: Mapping[str, Tensor]
    length: int
    place: Callable[[PreTrainedModel, Anatomy, Mapping[str, Tensor], int], Tokens] | None = None

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
    leading = tensors.get("input_ids", tensors.get("inputs_embeds"))
    if leading is None:
        count = next(iter(tensors.values())).shape[0]
        return [Inputs(None, {name: value[i] for name, value in tensors.items()}, 0) for i in range(count)]
    if leading.ndim == (1 if "input_ids" in tensors else 2):
        tensors = {name: value.unsqueeze(0) for name, value in tensors.items()}
        leading = leading.unsqueeze(0)
    batch, length = leading.shape[:2]
    mask = tensors.pop("attention_mask", torch.ones(batch, length, dtype=torch.long))
    if mask.shape != (batch, length):
        raise BadInput(f"attention_mask has shape {tuple(mask.shape)}, the inputs {(batch, length)}; they must agree.")
    for name, value in tensors.items():
        if value.shape[0] != batch:
            raise BadInput(f"{name} holds {value.shape[0]} sequences and the other inputs {batch}; they must agree.")
    return [_sequence(tensors, mask, row, vocabulary, limit, tokenizer) for row in range(batch)]


def as_tensor(name: str, value: Any) -> Tensor:
    """What a user gave as a model input, as a tensor; `BadInput` if it is no array of numbers."""
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise BadInput(
            f"{name} is no array of numbers ({reason}). Give a tensor or nested lists of equal length; sequences of "
            "different length are padded, with an attention_mask, or given one by one in a list."
        ) from reason


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
        raise BadInput(f"Sequence {row} is all padding, so there is no token to attribute anything to.")
    first, last = int(kept[0]), int(kept[-1]) + 1
    if last - first != len(kept):
        raise BadInput(f"The attention_mask of sequence {row} has a hole; padding is only understood at the ends.")
    length = len(kept)
    own = {
        name: value[row, first:last] if value.shape[1:2] == mask.shape[1:] and name != "position_ids" else value[row]
        for name, value in tensors.items()
    }
    own.pop("position_ids", None)  # they counted the padding; the model numbers an unpadded sequence itself
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
    named = zip(numbers, tokenizer.convert_ids_to_tokens(list(numbers)), strict=True)
    # A model may know more ids than its tokenizer (rows that fill up the table), and write them too.
    pieces = (str(number) if piece is None else _spelled(tokenizer, piece) for number, piece in named)
    return Tokens(tuple(pieces), numbers, tuple(number in marks for number in numbers))


def numbered(count: int) -> Tokens:
    """Labels of tokens of which nothing is known but their order."""
    return Tokens(tuple(f"#{position}" for position in range(count)))


def _spelled(tokenizer: Any, piece: str) -> str:
    """A piece as people write it, where there is no text to take a slice of."""
    text = piece if piece.startswith("##") else tokenizer.convert_tokens_to_string([piece]).strip()
    return piece if not text or "\ufffd" in text else text


def batches(inputs: Sequence[Inputs], batch_size: int) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Group sequences of equal length into batches: positions in ``inputs``, and stacked tensors."""
    if batch_size < 1:
        raise BadOption(
            f"batch_size={batch_size} would run nothing; it is how many sequences run together, at least 1."
        )
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, one in enumerate(inputs):
        alike = (one.length, *((name, tuple(value.shape)) for name, value in one.tensors.items()))
        groups.setdefault(alike, []).append(position)
    for positions in groups.values():
        for start in range(0, len(positions), batch_size):
            chosen = positions[start : start + batch_size]
            yield chosen, stacked([inputs[position] for position in chosen])


def stacked(alike: Sequence[Inputs]) -> dict[str, Tensor]:
    """Sequences of equal length as the model inputs of one batch."""
    return {name: torch.stack([one.tensors[name] for one in alike]) for name in alike[0].tensors}
