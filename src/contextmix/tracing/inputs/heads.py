"""Which scores a model's head gives, and where: of the whole input, or at each token."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput, UnsupportedModel
from contextmix.tracing.recording.scores import scores_in

_AT_TOKENS = ("ForTokenClassification", "ForCTC")
"""How transformers calls heads with scores at each token that belong to no vocabulary of the input."""


def speaks(model: PreTrainedModel) -> bool:
    """Whether a model scores the tokens of its vocabulary: a language model, causal or masked."""
    return model.get_output_embeddings() is not None  # type: ignore[no-untyped-call]


def answers_questions(model: PreTrainedModel) -> bool:
    """Whether a model looks for an answer in its input: it scores each token as its start, and as its end."""
    return _takes_starts(getattr(model.forward, "__func__", model.forward))


@lru_cache(maxsize=64)  # asked once per text, and reading a signature takes as long as a small layer
def _takes_starts(forward: Callable[..., Any]) -> bool:
    return "start_positions" in inspect.signature(forward).parameters


def spells(model: PreTrainedModel) -> bool:
    """Whether a model scores the letters of an alphabet at each frame of a sound (CTC)."""
    return _called(model, "ForCTC")


def scores_tokens(model: PreTrainedModel) -> bool:
    """Whether a model has scores at each token: of its vocabulary, of classes or letters, or as ends of an answer."""
    return speaks(model) or answers_questions(model) or any(_called(model, name) for name in _AT_TOKENS)


def runs_alone(model: PreTrainedModel) -> bool:
    """Whether a model refuses several sequences at a time: a classifier of texts without a padding id.

    It reads the last token that is no padding, and without that id it would not know which one; sequences of equal
    length are refused too.
    """
    return _called(model, "ForSequenceClassification") and padding_id(model) is None


def padding_id(model: PreTrainedModel) -> int | None:
    """The id that means padding to a model, or None."""
    found: int | None = getattr(model.config.get_text_config(), "pad_token_id", None)
    return found


def refuse_padding(model: PreTrainedModel, ids: Tensor, own: Tensor, mask: Tensor | None) -> None:
    """An id of padding that the input does not hold: models pass over it, silently, in more than one way.

    Args:
        model: The model.
        ids: What it is to read, (batch, n).
        own: The input.
        mask: Which of the ids are seen, (batch, n); None for all.

    Raises:
        BadInput: If one is seen.
    """
    padding = padding_id(model)
    if padding is None:
        return
    read = ids.eq(padding) if mask is None else ids.eq(padding) & mask.bool()
    if bool((read.sum(-1) > own.eq(padding).sum()).any()):
        raise BadInput(
            f"The id {padding} means padding to {type(model).__name__}, which may pass over it instead of "
            "reading it, so the score would be that of another text. Choose another replacement."
        )


def refuse_choices(model: PreTrainedModel) -> None:
    """A head that reads several texts at once and scores them against each other.

    Raises:
        UnsupportedModel: If the model has one.
    """
    if _called(model, "ForMultipleChoice"):
        raise UnsupportedModel(
            f"{type(model).__name__} reads all choices of a question at once and scores each of them, but contextmix "
            f"explains one sequence. To see what the tokens of one choice mix, load what is below the head: "
            f"contextmix.load(model.{model.base_model_prefix}, tokenizer), and give the question and the choice as a "
            "pair. The score of a choice is not explained."
        )


def class_scores(model: PreTrainedModel, outputs: Any) -> Tensor:
    """The logits (batch, class) of a sequence classifier.

    Raises:
        UnsupportedModel: If the model has no head that gives one score per class.
    """
    logits = scores_in(outputs)
    if logits is not None and logits.ndim == 2 and logits.shape[-1] == model.config.num_labels:
        return logits
    name = type(model).__name__
    if logits is None:
        raise UnsupportedModel(
            f"{name} gives no score per class, and this method explains such a score. Load the model with its "
            "classification head, or use a method that explains a representation, such as globenc."
        )
    raise UnsupportedModel(
        f"{name} gives no score per class of the whole input: its scores have the shape {tuple(logits.shape)}, in a "
        "head of a kind that contextmix does not know. Use a method that explains a representation, such as globenc."
    )


def token_scores(model: PreTrainedModel, outputs: Any, places: Tensor | int) -> Tensor:
    """The logits (batch, class) at one token of each sequence.

    Args:
        model: A model with scores at every token.
        outputs: What it gave: logits (batch, n, class), or (batch, 1, class) where only the last token's were wanted.
        places: The position of the token, one for each sequence or for all.

    Raises:
        UnsupportedModel: If it gave no such scores.
    """
    logits = scores_in(outputs)
    if logits is None or logits.ndim != 3:
        raise UnsupportedModel(
            f"{type(model).__name__} gives no scores at each token, and this method explains one of these. Use a "
            "method that explains a representation, such as globenc."
        )
    if logits.shape[1] == 1:
        return logits[:, 0]
    if isinstance(places, int):
        return logits[:, places]
    return logits[torch.arange(len(logits), device=logits.device), places.to(logits.device)]


def _called(model: PreTrainedModel, ending: str) -> bool:
    """Whether a class of the model has a name that ends so; a subclass of a user may be called anything."""
    return any(kind.__name__.endswith(ending) for kind in type(model).__mro__)
