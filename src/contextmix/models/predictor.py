"""The model side of the metrics that ask one: which tokens are kept → probabilities.

A token that is not kept is replaced, taken out, or stays in its place where attention passes over it. These are
different questions: a mask is a word that the model knows to be missing (if it was trained with masks), a deleted word
moves up all that follows. `contextmix.models.removals` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contextmix.errors import BadInput, BadOption, UnsupportedModel, WrongShape
from contextmix.models.removals import LEAVE_SOMETHING, Changed, changing, refuse_missing
from contextmix.models.traced_model import TracedModel
from contextmix.options.values import Removal
from contextmix.plugins.contracts import Predict
from contextmix.tokens.pieces import Tokens
from contextmix.traces.meaning import probabilities
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.heads import speaks
from contextmix.tracing.inputs.meaning import meaning_of
from contextmix.tracing.inputs.targets import names_of
from contextmix.tracing.recording.modes import undisturbed
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.runs.rerun import Rerunner

BATCH_TOKENS = 4096
"""Tokens that run together, unless told otherwise."""


def removable(tokens: Tokens) -> NDArray[np.bool_]:
    """Which tokens may be taken away: all that the tokenizer did not add.

    Example:
        >>> removable(Tokens(("[CLS]", "film"), special=(True, False)))
        array([False,  True])
    """
    return ~np.array(tokens.special, dtype=np.bool_)


@undisturbed
def predictor(
    model: TracedModel,
    inputs: Inputs,
    *,
    removal: Removal = "mask",
    targets: Sequence[int | str] | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Predict:
    """A function that says what a model makes of an input with tokens taken away, for metrics.

    Args:
        model: A classifier of texts, or a causal language model, which is asked for the next token.
        inputs: One sequence, of `TracedModel.encode`.
        removal: ``"mask"`` or ``"unknown"``: that token in its place. ``"delete"``: nothing, what follows moves up.
            ``"pad"``: the padding token, which attention passes over; positions stay, except where a model counts
            them without padding (RoBERTa), so that it is the same as deleting. ``"masked_keys"``: the token itself,
            whose keys nobody attends to; positions stay. ``"zero"``: zeros in the place of what enters the first block.
            ``"infill"``: of a language model, the token that it finds likeliest after what stands before, other than
            the one that is there.
        targets: For a language model, the tokens (text or id) that are the classes; None for the one that it says
            next after the whole input. Their probabilities are those among the whole vocabulary.
        batch_tokens: How many tokens run together at most: memory grows with it, and beyond some thousands speed does
            not.

    Returns:
        Kept tokens, bool (variant, token) → float64 (variant, class): the softmax of the scores, or, for classes that
        do not exclude each other, the logistic function of each. Every variant runs once, however often it is asked
        for; no other text is ever in a row with it, so there is no padding of lengths.

    Raises:
        BadInput: If the input is no token ids, or a variant keeps none.
        BadOption: If the tokenizer has no such token, the targets do not fit, or one text does not fit a batch.
        UnsupportedModel: If the model gives no probabilities of this kind.
        NotInVocabulary: If a target is no token.
        WrongShape: If a call does not say for every token whether it is kept.

    Example:
        >>> import contextmix
        >>> demo = contextmix.load("demo")
        >>> (text,) = demo.encode("a good film")
        >>> predict = predictor(demo, text)
        >>> predict(np.array([[True, True, True, True, True], [True, True, False, False, True]]))[:, 1].round(2)
        array([1.  , 0.97])
    """
    if inputs.tokens is None or inputs.tokens.ids is None or "input_ids" not in inputs.tensors:
        raise BadInput(
            "Tokens are removed from a text by their ids, but this input has no token ids (is it an image or a sound?)."
        )
    refuse_missing(model, removal)
    if inputs.length > batch_tokens:
        raise BadOption(
            f"batch_tokens={batch_tokens} is too few for one run of the model on {inputs.length} tokens. Increase "
            f"it, or shorten the text."
        )
    speaker = _refuse_other_models(model)
    if targets is not None and not speaker:
        raise BadOption("targets chooses tokens that a language model may say, and this model has classes: leave out.")
    with model.turn:
        tensors = {name: value.unsqueeze(0).to(device_of(model.model)) for name, value in inputs.tensors.items()}
        again = Rerunner(model.model, model.anatomy(), tensors, -1 if speaker else None)
        scores = again.scores_of(tensors["input_ids"])
        changed = changing(model, again, removal, inputs.tokens)
        found = _Predictor(model, again, removal, batch_tokens, _reading(model, scores, targets), changed)
        found.answers[np.ones(inputs.length, dtype=np.bool_).tobytes()] = found.read(scores)[0]
    return found


@dataclass(frozen=True)
class _Predictor:
    """What `predictor` returns: it keeps each answer."""

    model: TracedModel
    again: Rerunner
    removal: Removal
    batch_tokens: int
    read: Callable[[Tensor], NDArray[np.float64]]
    changed: Changed
    answers: dict[bytes, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def ids(self) -> Tensor:
        return self.again.tensors["input_ids"][0]

    @undisturbed
    def __call__(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(variant, token) → (variant, class)."""
        kept = np.asarray(kept)
        if kept.dtype != np.bool_ or kept.ndim != 2 or len(kept) == 0 or kept.shape[1] != len(self.ids):
            raise WrongShape(
                f"Got {kept.dtype} of shape {kept.shape}; predict is asked with True or False for each of the "
                f"{len(self.ids)} tokens in every variant: bool, (variant, {len(self.ids)})."
            )
        if self.removal not in LEAVE_SOMETHING and not kept.any(1).all():
            raise BadInput(
                "A variant keeps no token at all, so there is nothing to read. Special tokens are kept by the "
                "metrics, but this input has none: leave out steps at which everything is gone."
            )
        rows = [row.tobytes() for row in kept]
        new = {key: row for key, row in zip(rows, kept, strict=True) if key not in self.answers}
        with self.model.turn:
            for batch in self._batches(list(new.values())):
                answers = self.read(self._scores(torch.from_numpy(batch).to(self.ids.device)))
                self.answers.update(zip((row.tobytes() for row in batch), answers, strict=True))
        return np.stack([self.answers[key] for key in rows])

    def _batches(self, kept: list[NDArray[np.bool_]]) -> Iterator[NDArray[np.bool_]]:
        """Variants that run together: as many as the tokens allow, all of one length."""
        groups: dict[int, list[NDArray[np.bool_]]] = {}
        for row in kept:
            groups.setdefault(int(row.sum()) if self.removal == "delete" else len(row), []).append(row)
        for length, rows in groups.items():
            step = self.batch_tokens // length
            for start in range(0, len(rows), step):
                yield np.stack(rows[start : start + step])

    def _scores(self, kept: Tensor) -> Tensor:
        """Logits (variant, class) of variants that have equally many tokens to read."""
        return self.changed(kept)


def _refuse_other_models(model: TracedModel) -> bool:
    """Whether the model says what comes next, and not classes; other models are refused."""
    kind = type(model.model).__name__
    if speaks(model.model):
        if not model.is_causal:
            raise UnsupportedModel(
                f"{kind} scores every token and predicts no next token, so there is no probability of the whole text "
                f"to compare. Use a classifier of texts, or a causal language model."
            )
        return True
    if model.model.config.num_labels == 1:
        raise UnsupportedModel(
            f"{kind} gives one score (a regression?), which is not a probability: softmax would always make it 1. Use "
            "a classifier of two or more classes."
        )
    if not meaning_of(model.model, model.model.config.num_labels or 0).has_probability:
        raise UnsupportedModel(
            f"{kind} gives numbers that are not class probabilities (a regression, or answer positions), so there is "
            f"no probability to compare. Use a classifier of two or more classes."
        )
    return False


def _reading(
    model: TracedModel, intact: Tensor, targets: Sequence[int | str] | None
) -> Callable[[Tensor], NDArray[np.float64]]:
    """How logits (variant, class) become probabilities of the classes that are asked for."""
    meaning = meaning_of(model.model, intact.shape[-1])
    columns: list[int] | None = None
    if speaks(model.model):
        names = names_of(model.model, model.tokenizer, intact.shape[-1])
        columns = [int(intact[0].argmax())] if targets is None else [names.number(one) for one in targets]
        if not columns:
            raise BadOption("targets is empty, so there would be no classes. Name tokens, or leave it out.")

    def read(scores: Tensor) -> NDArray[np.float64]:
        found = probabilities(scores, meaning)
        return (found if columns is None else found[:, columns]).cpu().numpy()

    return read
